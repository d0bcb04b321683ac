# SPDX-License-Identifier: Apache-2.0
"""`levine swap`: give a running executor another policy and wait for what becomes of it."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from levine_policy_node.cli.main import EXIT_FAILED, EXIT_OK, write_json
from levine_policy_node.runtime.bundle import load_bundle


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `levine swap`."""
    parser.add_argument("bundle", metavar="BUNDLE", help="a shipped name or a path")
    parser.add_argument("--namespace", default="", help="ROS namespace of the runtime")
    parser.add_argument(
        "--timeout-s",
        type=float,
        default=60.0,
        metavar="S",
        help="stop waiting after this time; the request stays",
    )


def run(options: argparse.Namespace) -> int:
    """Ask, show where the swap is, and succeed only if the policy is active."""
    from levine_policy_node.ros.operator_client import OperatorClient
    from levine_policy_node.ros.swap_client import FINAL, SwapClient, SwapRefusedError

    # Absolute, for the executor's directory is another; and what is wrong with the files is wrong
    # before anybody is asked.
    path = str(load_bundle(options.bundle).path.resolve())
    operator = OperatorClient("swap", options.namespace)
    try:
        client = SwapClient(operator)
        state: dict[str, Any]
        try:
            number = client.request(path)
            state = client.wait(number, options.timeout_s, _show)
        except SwapRefusedError as error:
            state = {"policy": path, "state": "refused", "reason": str(error)}
    finally:
        operator.close()
    write_json(options.json, state)
    if state["state"] == "done":
        return EXIT_OK
    if state["state"] in FINAL:
        print(f"error: {state['state']}: {state['reason']}", file=sys.stderr)
    else:
        why = f" ({state['reason']})" if state["reason"] else ""
        print(
            f"error: still {state['state']} after {options.timeout_s:g} s{why}; the request "
            "stays, a swap to the policy that runs takes its place",
            file=sys.stderr,
        )
    return EXIT_FAILED


def _show(state: dict[str, Any]) -> None:
    text = str(state["state"])
    if state["reason"] and state["state"] not in {"refused", "replaced"}:
        text += f": {state['reason']}"
    if "worst_rad" in state:
        text += (
            f" (shadow: {state['observations']:.0f} observations, worst {state['worst_rad']:.4f} "
            f"rad, median {state['median_rad']:.4f} rad)"
        )
    if "memory_after_mb" in state:
        text += (
            f" (memory: {state['memory_before_mb']:.0f} MB before, "
            f"{state.get('memory_both_mb', float('nan')):.0f} MB with both, "
            f"{state['memory_after_mb']:.0f} MB after)"
        )
    print(text, flush=True)
