# SPDX-License-Identifier: Apache-2.0
"""Play the operator of a simulated arm: reset, arm, engage, watch, stop, mark.

Everything goes through the topics and services a person would use, so what is measured here is
the runtime itself.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.client import Client
from std_msgs.msg import String
from std_srvs.srv import Trigger

from levine_policy_node.core.success_rate import EpisodeResult
from levine_policy_node.errors import LevineError
from levine_policy_node.ros import qos
from levine_policy_node.ros.diagnostics import diagnostics_from_msg
from levine_policy_node.ros.operator_client import CALL_TIMEOUT_S, LATCHED_MODES, OperatorClient

READY_TIMEOUT_S = 30.0
START_TIMEOUT_S = 15.0
RESTING_MODES = frozenset({"DISARMED", "ARMED", "PAUSED"})
RESUMABLE_MODES = frozenset({"PAUSED", "PSTOP", "DISARMED"})
MAX_STOPS = 5


class RolloutError(LevineError, RuntimeError):
    """The running graph did not do what the rollout needed."""


class Rollout(OperatorClient):
    """A client of the running graph; create it after the processes were started."""

    def __init__(self, namespace: str = "", *, recorder: bool = True) -> None:
        super().__init__("rollout", namespace)
        self._recorder = recorder
        self.episode: dict[str, Any] = {}
        self.diagnostics: dict[str, dict[str, str]] = {}
        self.cause = ""
        node = self.node
        node.create_subscription(String, "sim/episode", self._on_episode, qos.TICKS)
        node.create_subscription(DiagnosticArray, "supervisor/events", self._on_events, qos.EVENTS)
        node.create_subscription(
            DiagnosticArray, "/diagnostics", self._on_diagnostics, qos.DIAGNOSTICS
        )
        names = ["arm", "disarm", "engage", "home", "pause", "reset", "resume", "stop"]
        services = [f"supervisor/{name}" for name in names] + ["sim/reset", "sim/report"]
        if recorder:
            services += ["recorder/mark_success", "recorder/mark_failure", "recorder/end_episode"]
        self._triggers: dict[str, Client] = {
            name: node.create_client(Trigger, name) for name in services
        }
        # The arm needs the seed to lay out the scene, the recorder to write it down.
        seeded = ["sim_arm", "intervention_recorder"] if recorder else ["sim_arm"]
        self._seeds: dict[str, Client] = {
            name: node.create_client(SetParameters, f"{name}/set_parameters") for name in seeded
        }

    def wait_ready(self, alive: Callable[[], None]) -> None:
        """Wait until every service and the first messages are there.

        `alive` is called meanwhile and raises if a process has died.

        Raises:
            RolloutError: If something is missing after `READY_TIMEOUT_S`.
        """

        def missing() -> list[str]:
            alive()
            found = [name for name, c in self._triggers.items() if not c.service_is_ready()]
            found += [
                f"{name} parameters"
                for name, client in self._seeds.items()
                if not client.service_is_ready()
            ]
            found += [] if self.mode == "DISARMED" else ["supervisor/mode DISARMED"]
            return found + ([] if self.episode else ["sim/episode"])

        if not self.spin_until(lambda: not missing(), READY_TIMEOUT_S):
            raise RolloutError(f"not there after {READY_TIMEOUT_S:.0f} s: {', '.join(missing())}")

    def call(self, name: str) -> tuple[bool, str]:
        """Call a Trigger service and return its (success, message).

        Raises:
            RolloutError: If there is no reply within `CALL_TIMEOUT_S`.
        """
        future = self._triggers[name].call_async(Trigger.Request())
        if not self.spin_until(future.done, CALL_TIMEOUT_S):
            raise RolloutError(f"{name} did not reply within {CALL_TIMEOUT_S:.0f} s")
        reply = future.result()
        if reply is None:
            raise RolloutError(f"{name} went away while it was called")
        return bool(reply.success), str(reply.message)

    def run_episode(self, seed: int, horizon_s: float) -> EpisodeResult:
        """Reset to `seed`, let the policy act until the task ends, bring the arm to rest.

        If a watchdog stops the arm, do what a person would: note why, and resume.

        Raises:
            RolloutError: If a step is refused; the message says why.
        """
        self.reset_scene(seed)
        self.start_policy()
        self.cause = ""
        # The scene has not moved while the arm stood, so the task's clock starts here.
        start_s = self._scene_time_s()

        def decided() -> bool:
            done = bool(self.episode["success"] or self.episode["failed"])
            return done or self._scene_time_s() - start_s > horizon_s

        stops: list[str] = []
        deadline = time.monotonic() + horizon_s * 3 + 10.0
        while True:
            left_s = deadline - time.monotonic()
            self.spin_until(lambda: decided() or self.mode != "POLICY", left_s)
            if decided() or self.mode == "POLICY":
                break
            self.spin_until(lambda: self.mode in RESTING_MODES | LATCHED_MODES, 5.0)
            stops.append(self.cause or f"stopped: {self.mode}")
            self.cause = ""
            if self.mode not in RESUMABLE_MODES or len(stops) == MAX_STOPS:
                break
            self.start_policy()
        result = self._result(seed, self._scene_time_s() - start_s, tuple(stops))
        self.finish(success=result.success)
        return result

    def report(self) -> dict[str, Any]:
        """What the simulated arm's own monitor counted."""
        return json.loads(self._must("sim/report"))

    def _result(self, seed: int, duration_s: float, stops: tuple[str, ...]) -> EpisodeResult:
        success = bool(self.episode["success"])
        if success:
            ended_by = "success"
        elif self.episode["failed"]:
            ended_by = "failure"
        else:
            ended_by = "time" if self.mode == "POLICY" else self.mode
        return EpisodeResult(seed, success, duration_s, ended_by, stops)

    def finish(self, *, success: bool) -> None:
        """Bring the arm to rest, mark and close the episode, and disarm.

        Raises:
            RolloutError: If the arm does not come to rest or is not disarmed.
        """
        if self.mode == "POLICY":
            # Refused if a watchdog was faster, and then it is coming to rest already.
            self.call("supervisor/pause")
        if not self.spin_until(lambda: self.mode in RESTING_MODES | LATCHED_MODES, 5.0):
            raise RolloutError(f"the arm did not come to rest; mode is {self.mode}")
        if self._recorder:
            self.call("recorder/mark_success" if success else "recorder/mark_failure")
        reason = ""
        deadline = time.monotonic() + START_TIMEOUT_S
        while self.mode != "DISARMED":
            if time.monotonic() > deadline:
                raise RolloutError(f"the supervisor did not disarm from {self.mode}: {reason}")
            # What latched may take a moment to clear, so ask again.
            act = "reset" if self.mode in LATCHED_MODES else "disarm"
            reason = self.call(f"supervisor/{act}")[1]
            self.spin_until(lambda: self.mode == "DISARMED", 0.2)
        if self._recorder:
            self.call("recorder/end_episode")

    def reset_scene(self, seed: int) -> None:
        """Lay out the scene of `seed`; the arm must be disarmed.

        Raises:
            RolloutError: If it is refused or does not happen.
        """
        value = ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=seed)
        request = SetParameters.Request(parameters=[Parameter(name="seed", value=value)])
        for name, client in self._seeds.items():
            future = client.call_async(request)
            if not self.spin_until(future.done, CALL_TIMEOUT_S):
                raise RolloutError(f"{name} did not take the seed")
        self._must("sim/reset")
        fresh = lambda: self.episode.get("seed") == seed and self._scene_time_s() < 5.0  # noqa: E731
        if not self.spin_until(fresh, CALL_TIMEOUT_S):
            raise RolloutError(f"the scene was not reset to seed {seed}")

    def start_policy(self) -> None:
        """Arm and engage.

        Raises:
            RolloutError: If the policy is not in command after `START_TIMEOUT_S`; says why.
        """
        # The policy may still be looking at frames from before the reset, and a busy machine may
        # trip a watchdog while processes start: do what a person would, look and ask again.
        reason = ""
        deadline = time.monotonic() + START_TIMEOUT_S
        while self.mode != "POLICY":
            if time.monotonic() > deadline:
                raise RolloutError(f"the policy could not be engaged: {reason}")
            if self.mode in LATCHED_MODES:
                reason = self.call("supervisor/reset")[1]
            elif self.mode in {"INIT", "DISARMED"}:
                reason = self.call("supervisor/arm")[1]
            elif self.mode == "ARMED":
                reason = self.call("supervisor/engage")[1]
            elif self.mode == "PAUSED":
                reason = self.call("supervisor/resume")[1]
            self.spin_until(lambda: self.mode == "POLICY", 0.1)

    def _must(self, name: str) -> str:
        success, message = self.call(name)
        if not success:
            raise RolloutError(f"{name} was refused: {message}")
        return message

    def _scene_time_s(self) -> float:
        return float(self.episode.get("time_s", 0.0))

    def _on_events(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.level != DiagnosticStatus.OK:
                self.cause = f"{status.name}: {status.message}"

    def _on_episode(self, message: String) -> None:
        self.episode = json.loads(message.data)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.diagnostics.update(diagnostics_from_msg(message))
