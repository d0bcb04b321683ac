# SPDX-License-Identifier: Apache-2.0
"""A bundle's graphs on ONNX Runtime, behind the `Policy` interface."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import onnxruntime  # pyright: ignore[reportMissingTypeStubs]

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.action_layout import ActionLayout
from levine_policy_node.core.decoders.decoder import Decoder
from levine_policy_node.core.decoders.direct import DirectDecoder, direct_shapes
from levine_policy_node.core.observation import Observation, Tensors
from levine_policy_node.core.units import StampNs
from levine_policy_node.errors import BundleError, InferenceError
from levine_policy_node.robot import Robot
from levine_policy_node.runtime.bundle import Bundle
from levine_policy_node.runtime.bundle_stats import ACTION
from levine_policy_node.runtime.preprocess import Preprocessor, columns
from levine_policy_node.runtime.run_watchdog import RunWatchdog

Provider = Literal["cpu", "cuda"]
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_DTYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}
_WARM_UP_RUNS = 3
_FROM_MEMORY = "add_external_initializers_from_files_in_memory"

# The package has no type information; what comes out of it is given a type where it is used.
ort = cast("Any", onnxruntime)

# ONNX Runtime's errors share no base but Exception.
_ort_names = cast("dict[str, object]", vars(ort.capi.onnxruntime_pybind11_state))
_ORT_ERRORS: tuple[type[Exception], ...] = (
    RuntimeError,
    ValueError,
    *(e for e in _ort_names.values() if isinstance(e, type) and issubclass(e, Exception)),
)


@dataclass(frozen=True, slots=True)
class OnnxOptions:
    """How a graph is run.

    Attributes:
        provider: `cpu` or `cuda`; one that is not there is an error, never a fallback.
        threads: Threads of one run; more help image encoders only.
        timeout_s: A run is stopped after this time [s].
    """

    provider: Provider = "cpu"
    threads: int = 1
    timeout_s: float = 2.0


class OnnxPolicy:
    """Runs a verified bundle for one robot.

    Loading checks the graph against the document and runs it on plausible inputs.

    Raises:
        BundleError: If the bundle does not fit the robot, or its graph the document.
    """

    def __init__(self, bundle: Bundle, robot: Robot, options: OnnxOptions | None = None) -> None:
        bundle.check_robot(robot)
        self.bundle = bundle
        self._robot = robot
        self._preprocessor = Preprocessor(bundle, robot.joint_names)
        self._layout = _layout(bundle, robot.joint_names)
        self._graphs = _OnnxGraphs(bundle, options or OnnxOptions())
        try:
            self._decoder = self._check_graph()
            self._warm_up()
        except BundleError:
            self.close()
            raise

    @property
    def source(self) -> str:
        """Who commands, `policy:<name>@<hash8>`."""
        return self.bundle.source

    @property
    def graph_s(self) -> float:
        """Time the last inference spent in ONNX Runtime [s]."""
        return self._graphs.spent_s

    def reset(self) -> None:
        """Nothing to forget: the supported kinds have no memory."""

    def close(self) -> None:
        """Stop the watchdog; the graphs must not run any more."""
        self._graphs.close()

    def infer(self, observation: Observation) -> ActionChunk:
        """Predict joint targets; see `Policy.infer`."""
        document = self.bundle.document
        self._graphs.spent_s = 0.0
        actions = self._decoder.decode(self._graphs, self._preprocessor.tensors(observation))
        if not np.all(np.isfinite(actions)):
            raise InferenceError(f"{self.source}: the output is not finite")
        positions = self._layout.positions(actions, observation.joint_positions)
        return ActionChunk(
            joint_names=self._robot.joint_names,
            observed_ns=observation.stamp_ns,
            dt_s=1.0 / document.rate,
            positions=positions[document.chunk.start :],
            source=self.source,
        )

    def _check_graph(self) -> Decoder:
        """Compare names, types and shapes of the step graph with the document."""
        graph = self._graphs.file
        inputs = {value.name: value for value in self._graphs.session.get_inputs()}
        expected = self._preprocessor.shapes
        _same_names(graph, "inputs", "observations", set(inputs), set(expected))
        for name, (shape, dtype) in expected.items():
            value = inputs[name]
            if _DTYPES.get(value.type, value.type) != dtype or not _fits(value.shape, shape):
                raise BundleError(
                    graph,
                    f"input {name}",
                    f"is {value.type} of shape {value.shape}, but the observation gives {dtype} "
                    f"of shape {list(shape)}",
                    "Correct the observation in policy.yaml or export the graph again",
                )
        return self._check_output()

    def _check_output(self) -> Decoder:
        graph = self._graphs.file
        outputs = {value.name: value for value in self._graphs.session.get_outputs()}
        document = self.bundle.document
        name = document.decoder.output or (next(iter(outputs)) if len(outputs) == 1 else "")
        if name not in outputs:
            raise BundleError(
                graph,
                "decoder.output",
                f"'{name}' is not an output of the graph" if name else "is needed",
                f"Outputs: {', '.join(outputs)}",
            )
        rows, width = document.chunk.size, len(document.action.names)
        shapes = direct_shapes(rows, width)
        if not any(_fits(outputs[name].shape, shape) for shape in shapes):
            raise BundleError(
                graph,
                f"output {name}",
                f"has shape {outputs[name].shape}, but chunk.size and action.parts make "
                f"{list(shapes[0])}",
                "Correct chunk and action in policy.yaml or export the graph again",
            )
        return DirectDecoder(name, rows, width)

    def _warm_up(self) -> None:
        """Run on plausible inputs: first runs are slow, and a broken graph shows here."""
        rng = np.random.default_rng(0)
        limits = self._robot.limits()
        for _ in range(_WARM_UP_RUNS):
            observation = Observation(
                stamp_ns=StampNs(0),
                joint_positions=rng.uniform(limits.lower, limits.upper),
                images={
                    name: rng.integers(0, 256, (camera.height, camera.width, 3), dtype=np.uint8)
                    for name, camera in self._robot.cameras.items()
                    if name in self.bundle.cameras
                },
                joint_velocities=rng.uniform(-0.1, 0.1, len(limits.names)) * limits.velocity,
            )
            try:
                self.infer(observation)
            except (InferenceError, ValueError) as error:
                raise BundleError(
                    self._graphs.file, "", f"fails on a plausible observation: {error}"
                ) from error


class _OnnxGraphs:
    """One session per role, made from verified bytes."""

    def __init__(self, bundle: Bundle, options: OnnxOptions) -> None:
        name = bundle.document.graphs.step_file
        self.file = str(bundle.path / name)
        self._timeout_s = options.timeout_s
        self.session = _session(bundle, name, options)
        self._outputs: list[str] = [value.name for value in self.session.get_outputs()]
        self._watchdog = RunWatchdog(options.timeout_s)
        self.spent_s = 0.0

    def run(self, role: str, inputs: Tensors) -> Tensors:
        """Run one graph once; see `Graphs.run`."""
        del role  # one graph until a decoder needs more
        limits = ort.RunOptions()
        values: list[npt.NDArray[Any]]
        begin_s = time.perf_counter()
        try:
            with self._watchdog.guard(lambda: setattr(limits, "terminate", True)):
                values = self.session.run(self._outputs, dict(inputs), limits)
        except _ORT_ERRORS as error:
            if limits.terminate:
                raise InferenceError(
                    f"{self.file}: ran longer than {self._timeout_s} s"
                ) from error
            raise InferenceError(f"{self.file}: {' '.join(str(error).split())[:300]}") from error
        self.spent_s += time.perf_counter() - begin_s
        return dict(zip(self._outputs, values, strict=True))

    def close(self) -> None:
        self._watchdog.close()


def _session(bundle: Bundle, name: str, options: OnnxOptions) -> Any:
    provider = _PROVIDERS[options.provider]
    if provider not in ort.get_available_providers():
        raise BundleError(
            "policy",
            "provider",
            f"'{options.provider}' is not offered by this ONNX Runtime ({ort.__version__})",
            "Install onnxruntime-gpu or use provider cpu",
        )
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    settings.log_severity_level = 3
    # Spinning threads burn a core between runs and delay the control loop (measured: 77 % of a
    # core at 50 Hz with spinning, 11 % without).
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.add_session_config_entry("session.set_denormal_as_zero", "1")
    if options.provider != "cpu":
        settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    file = str(bundle.path / name)
    others = {other: data for other, data in bundle.files.items() if other != name}
    if others:
        # Not in the last ONNX Runtime for Python 3.10.
        if not hasattr(settings, _FROM_MEMORY):
            raise BundleError(
                file,
                "",
                f"has weights in other files, which ONNX Runtime {ort.__version__} cannot read "
                "from memory",
                "Use a newer ONNX Runtime, or export the graph as one file",
            )
        getattr(settings, _FROM_MEMORY)(
            list(others), list(others.values()), [len(data) for data in others.values()]
        )
    try:
        session = ort.InferenceSession(bundle.files[name], settings, providers=[provider])
    except _ORT_ERRORS as error:
        detail = re.sub(r"\s+", " ", str(error))[:300]
        raise BundleError(file, "", f"ONNX Runtime cannot load it ({detail})") from error
    if session.get_providers()[0] != provider:
        raise BundleError(
            file, "provider", f"runs on {session.get_providers()[0]}, not on {provider}"
        )
    return session


def _layout(bundle: Bundle, joint_names: tuple[str, ...]) -> ActionLayout:
    action = bundle.document.action
    widths = [(part, len(part.names)) for part in action.parts]
    relative = [part.mode == "relative" for part, width in widths for _ in range(width)]
    return ActionLayout(
        normalization=bundle.normalizations.get(ACTION),
        scale=np.concatenate([columns(part.scale, width) for part, width in widths]),
        offset=np.concatenate([columns(part.offset, width) for part, width in widths]),
        relative=np.array(relative),
        order=np.array([action.names.index(name) for name in joint_names]),
    )


def _same_names(graph: str, what: str, field: str, found: set[str], named: set[str]) -> None:
    if found != named:
        raise BundleError(
            graph,
            what,
            f"the graph has {', '.join(sorted(found)) or 'none'}, policy.yaml gives "
            f"{', '.join(sorted(named)) or 'none'}",
            f"Name every one under {field} (or in its field 'tensor')",
        )


def _fits(declared: list[Any], shape: tuple[int, ...]) -> bool:
    """Whether a graph's shape, where a name or None is any size, takes `shape`."""
    return len(declared) == len(shape) and all(
        not isinstance(size, int) or size == wanted
        for size, wanted in zip(declared, shape, strict=True)
    )
