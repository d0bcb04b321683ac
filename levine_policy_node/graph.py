# SPDX-License-Identifier: Apache-2.0
"""The process graph: which executables run, with which parameters.

`launch/*.launch.py` and `levine up` both read it, so they cannot drift. It imports neither ROS
nor launch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from levine_policy_node.errors import ConfigError, UnknownNameError
from levine_policy_node.resources import share_directory
from levine_policy_node.robot import Robot, load_robot
from levine_policy_node.runtime.bundle import Bundle, load_bundle
from levine_policy_node.runtime.trust import Trust, TrustLevel
from levine_policy_node.sros2 import enclave_path

ParameterValue = bool | int | float | str

POLICY_PROCESSES = frozenset({"policy_runtime", "camera_ingest", "policy_executor"})
LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")
# Of the controller that `sim_arm` plays [s]; a real one runs in real time.
_SIMULATED_REFERENCE_TIMEOUT_S = 0.2


@dataclass(frozen=True, slots=True)
class GraphOptions:
    """What the user chose.

    Attributes:
        robot: Name of a robot file that ships, or a path.
        policy: Name of a bundle that ships, or a path; "" where no process here runs it.
        namespace: ROS namespace of every node, "" for none.
        recorder: Whether episodes are recorded.
        recordings: Directory for episodes.
        simulate: Whether `sim_arm` stands in for the arm and its cameras.
        seed: Scene of the simulation.
        task: What its episodes are about.
        split_runtime: Run camera ingest and executor as two processes.
        only: The processes of this host; empty for all. The others run on another host.
        log_level: Level of every node.
        trust: What must vouch for the bundle: off, checksums or signature.
        trust_key: Public key of who signs bundles, for signature.
        remote_hosts: Hosts that may serve a policy beside this computer.
        operator: Device with which a person takes over; "" for none.
        overrides: Extra parameters per node name.
    """

    robot: str
    policy: str
    namespace: str = ""
    recorder: bool = True
    recordings: Path = Path("recordings")
    simulate: bool = False
    seed: int = 0
    task: str = "pick_place"
    split_runtime: bool = False
    only: tuple[str, ...] = ()
    log_level: str = "info"
    trust: str = "checksums"
    trust_key: Path | None = None
    remote_hosts: tuple[str, ...] = ()
    operator: str = ""
    overrides: Mapping[str, Mapping[str, ParameterValue]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Process:
    """One operating-system process of the graph.

    Attributes:
        executable: Console script, and module under `levine_policy_node.nodes`.
        nodes: Names of the nodes it holds.
        parameter_files: YAML files, later ones win.
        parameters: Values set for every node of the process.
        essential: The graph ends when this process ends.
    """

    executable: str
    nodes: tuple[str, ...]
    parameter_files: tuple[Path, ...]
    parameters: Mapping[str, ParameterValue]
    essential: bool = True

    def ros_arguments(self, options: GraphOptions) -> list[str]:
        """Command-line arguments after the executable, without a launch system."""
        arguments = ["--ros-args", "--log-level", options.log_level]
        # Nothing where security is off.
        arguments += ["--enclave", enclave_path(self.executable, options.namespace)]
        if options.namespace:
            arguments += ["-r", f"__ns:=/{options.namespace.strip('/')}"]
        for path in self.parameter_files:
            arguments += ["--params-file", str(path)]
        for name, value in self.parameters.items():
            arguments += ["-p", f"{name}:={_yaml_scalar(value)}"]
        return arguments


def build_graph(options: GraphOptions) -> tuple[Process, ...]:
    """Check the user's choice and describe the processes to start.

    Everything a user can get wrong is checked here, before any process starts.

    Raises:
        ConfigError: If the robot file, the bundle, their fit or an option is wrong.
    """
    if options.log_level not in LOG_LEVELS:
        raise ConfigError(
            "log_level",
            "",
            f"'{options.log_level}' is not a level",
            f"Use one of {', '.join(LOG_LEVELS)}",
        )
    robot = load_robot(options.robot)
    trust = Trust(cast("TrustLevel", options.trust), options.trust_key)
    bundle = _bundle(options, robot, trust)
    robot_parameter = {"robot": str(robot.path)}
    policy_parameter = {**robot_parameter, **_trust_parameters(trust)}
    if bundle is not None:
        policy_parameter["policy"] = str(bundle.path)
    if options.remote_hosts:
        policy_parameter["remote_hosts"] = ",".join(options.remote_hosts)
    processes: list[Process] = []
    if options.simulate:
        scene = {"seed": options.seed, "task": options.task}
        processes.append(_process("sim_arm", {**robot_parameter, **scene}, options))
    # Nobody looks into the stops of a simulation that is not even recorded.
    kept = options.recorder or not options.simulate
    stops = str(options.recordings.resolve() / "stops") if kept else ""
    supervisor: dict[str, ParameterValue] = {**robot_parameter, "black_box_root": stops}
    if options.simulate:
        # It has no computer of its own, and falls silent for as long as this one is busy.
        supervisor["reference_timeout_s"] = _SIMULATED_REFERENCE_TIMEOUT_S
    processes.append(_process("safety_supervisor", supervisor, options))
    if options.split_runtime:
        processes.append(_process("camera_ingest", policy_parameter, options))
        processes.append(_process("policy_executor", policy_parameter, options))
    else:
        processes.append(
            _process(
                "policy_runtime",
                policy_parameter,
                options,
                nodes=("camera_ingest", "policy_executor"),
            )
        )
    if options.recorder:
        recorder = {
            **robot_parameter,
            "root": str(options.recordings.resolve()),
            # Else the recorder takes them from the source tags of what it records.
            **({} if bundle is None else _provenance(bundle)),
            "seed": options.seed,
        }
        processes.append(_process("intervention_recorder", recorder, options, essential=False))
    return _of_this_host([*processes, *_operator(robot, options)], options)


def _operator(robot: Robot, options: GraphOptions) -> list[Process]:
    """The process of the operator's device, if there is one; the graph goes on without it."""
    if options.operator == "keyboard":
        raise ConfigError(
            "operator",
            "",
            "the keyboard needs a terminal of its own",
            "Start it there: ros2 run levine_policy_node operator --ros-args -p device:=keyboard",
        )
    parameters = {"robot": str(robot.path), "device": options.operator}
    return [_process("operator", parameters, options, essential=False)] if options.operator else []


def _of_this_host(processes: list[Process], options: GraphOptions) -> tuple[Process, ...]:
    names = [process.executable for process in processes]
    for name in options.only:
        if name not in names:
            raise UnknownNameError("only", "", name, names)
    return tuple(p for p in processes if not options.only or p.executable in options.only)


def _bundle(options: GraphOptions, robot: Robot, trust: Trust) -> Bundle | None:
    """The policy, checked; None where another host runs it and this one was not told which."""
    if options.policy:
        return load_bundle(options.policy, trust).for_robot(robot)
    if not options.only or POLICY_PROCESSES & set(options.only):
        raise ConfigError("policy", "", "is not given", "Name a bundle that ships, or a path")
    return None


def _provenance(bundle: Bundle) -> dict[str, ParameterValue]:
    return {"policy_name": bundle.name, "policy_sha256": bundle.sha256}


def _trust_parameters(trust: Trust) -> dict[str, ParameterValue]:
    """Only what was chosen: the parameter file may say it, too."""
    if trust.key is not None:
        return {"trust": trust.level, "trust_key": str(trust.key.resolve())}
    return {} if trust.level == "checksums" else {"trust": trust.level}


def _process(
    executable: str,
    parameters: Mapping[str, ParameterValue],
    options: GraphOptions,
    *,
    nodes: tuple[str, ...] = (),
    essential: bool = True,
) -> Process:
    names = nodes or (executable,)
    files = tuple(share_directory() / "config" / f"{name}.param.yaml" for name in names)
    extra = {k: v for name in names for k, v in options.overrides.get(name, {}).items()}
    return Process(executable, names, files, {**parameters, **extra}, essential)


def _yaml_scalar(value: ParameterValue) -> str:
    """Write a value so that the parameter parser reads back the same type."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value)
