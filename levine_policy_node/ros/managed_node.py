# SPDX-License-Identifier: Apache-2.0
"""Base of the lifecycle nodes: hooks, and errors that are seen.

rclpy returns ERROR from a transition whose callback raised and prints nothing, so the hooks run
under a guard that logs the error. With `autostart` (the default, since no lifecycle manager may
be there) the node configures and activates itself.
"""

from __future__ import annotations

import traceback

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from levine_policy_node.errors import LevineError


class ManagedNode(LifecycleNode):
    """A lifecycle node whose subclasses fill `setup`, `start`, `stop` and `teardown`."""

    def __init__(self, node_name: str) -> None:
        super().__init__(node_name)
        self.failure: Exception | None = None
        self._autostarting = False

    def setup(self) -> None:
        """Acquire everything that may fail: files, devices, publishers, threads."""

    def start(self) -> None:
        """Begin to act on inputs."""

    def stop(self) -> None:
        """Stop acting; inputs may still arrive."""

    def teardown(self) -> None:
        """Release what `setup` acquired; must be safe to call twice."""

    def autostart(self) -> None:
        """Configure and activate now.

        Raises:
            LevineError: What `setup` or `start` raised; the caller shows it, so it is not logged.
        """
        self._autostarting = True
        started = (
            self.trigger_configure() is TransitionCallbackReturn.SUCCESS
            and self.trigger_activate() is TransitionCallbackReturn.SUCCESS
        )
        self._autostarting = False
        if not started:
            raise self.failure or LevineError(f"{self.get_name()} did not start")

    def close(self) -> None:
        """Stop and release; called once by the entry point."""
        self.stop()
        self.teardown()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `setup`; a failure is logged and kept in `failure`."""
        del state
        return self._guard(self.setup)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `start` and activate the publishers."""
        result = self._guard(self.start)
        return super().on_activate(state) if result is TransitionCallbackReturn.SUCCESS else result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `stop` and deactivate the publishers."""
        result = self._guard(self.stop)
        return (
            super().on_deactivate(state) if result is TransitionCallbackReturn.SUCCESS else result
        )

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `teardown`."""
        del state
        return self._guard(self.teardown)

    def _guard(self, hook: object) -> TransitionCallbackReturn:
        try:
            hook()  # type: ignore[operator]
        except LevineError as error:
            self.failure = error
            if not self._autostarting:
                self.get_logger().error(str(error))
            return TransitionCallbackReturn.FAILURE
        except Exception as error:  # noqa: BLE001  rclpy would swallow it silently
            self.failure = error
            self.get_logger().fatal(traceback.format_exc())
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS
