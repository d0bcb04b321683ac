# SPDX-License-Identifier: Apache-2.0
"""Entry point of `levine`: one subcommand per file, errors in one line, honest exit codes."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from levine_policy_node.errors import LevineError

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNHEARD = 141
_AGAIN_S = 1.0

# Imported only when asked for, so `levine check` needs neither ROS nor MuJoCo.
COMMANDS = {
    "demo": "run the trained policy on the simulated arm and show what happened",
    "up": "start the runtime for one robot and one policy",
    "check": "print what a policy bundle sees and does, and whether it fits a robot",
    "check-robot": "validate a robot file",
    "swap": "give a running executor another policy and wait for the outcome",
    "faults": "bring about every fault in a simulation and time what comes of it",
    "eval": "measure a policy's success rate on the simulated task",
    "sros2": "write the security policy that lets only the supervisor command the arm",
    "calibrate": "measure the delays of a running robot and write them to its file",
    "replay": "run an episode's observations through a policy again and compare",
    "record": "show what a recording tells, repair it, or make a data set of episodes",
    "bench": "measure this package: seams between chunks beside other projects' rules",
}


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand and return its exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(prog="levine", description="Learned control of a real arm.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((a for a in arguments if not a.startswith("-")), "")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        command.add_argument("--json", type=Path, metavar="FILE", help="write results as JSON")
        if name == chosen:
            module = importlib.import_module(f"{__package__}.{name.replace('-', '_')}")
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    options = parser.parse_args(arguments)
    try:
        with ending_as_by_hand():
            code = int(options.run(options))
            sys.stdout.flush()
            return code
    except LevineError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except BrokenPipeError:
        # Whoever read it, such as `head`, has left; the interpreter must not try again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_UNHEARD
    except KeyboardInterrupt:
        return 130


@contextlib.contextmanager
def ending_as_by_hand() -> Iterator[None]:
    """Let `kill`, and a terminal that is closed, end a command as Ctrl-C does.

    Else they would end it alone, and the processes it has started would drive on.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        del number, frame
        if isinstance(sys.exc_info()[1], KeyboardInterrupt):
            return  # Everything is being ended already.
        # One that falls into a callback of the interpreter, such as a finaliser, is lost.
        if signal.SIGALRM in taken:
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
        raise KeyboardInterrupt

    # Whoever ignores a signal, as nohup does, wants it ignored.
    usual = {signal.SIG_DFL, signal.default_int_handler}
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM]
    before = {number: signal.getsignal(number) for number in numbers}
    taken = [number for number in numbers if before[number] in usual]
    for number in taken:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        if signal.SIGALRM in taken:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
        for number in taken:
            signal.signal(number, before[number])


def write_json(path: Path | None, results: dict[str, Any]) -> None:
    """Write machine-readable results where the user asked for them."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(results, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
