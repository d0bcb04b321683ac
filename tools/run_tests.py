# SPDX-License-Identifier: Apache-2.0
"""Run every test; each file that uses ROS 2 gets a process of its own.

Those that use ROS 2 mostly wait, one file after the other. The others run beside them in what is
left of the processor, at the lowest priority, so that they do not make them late.

rclpy's wheels crash now and then while a node is destroyed (a segmentation fault in
`Node.destroy_node`, seen about once in 200 tests). A crash of the interpreter says nothing about
the test, so such a file is run again, and the crash is reported; a failed test is never repeated.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ATTEMPTS = 3
NO_TESTS = 5


def main() -> int:
    """Run every group and return 0 if every test passed."""
    plain = ["test/unit", "test/runtime", "test/test_architecture.py"]
    with_ros = [
        str(path.relative_to(ROOT))
        for level in ("ros", "system")
        for path in sorted((ROOT / "test" / level).glob("test_*.py"))
    ]
    # Software GL leaves denormals switched off in the process, so sim has its own.
    groups = [*([path] for path in with_ros), ["test/launch"], ["test/sim"]]
    beside = ["nice", "-n", "19", *command(plain)]
    with (
        tempfile.TemporaryFile() as output,
        subprocess.Popen(beside, cwd=ROOT, stdout=output, stderr=output) as others,
    ):
        failed = [group for group in groups if run(group) not in {0, NO_TESTS}]
        if others.wait() != 0:
            failed.append(plain)
        output.seek(0)
        sys.stdout.write(output.read().decode(errors="replace"))
    for group in failed:
        sys.stderr.write(f"failed: {' '.join(group)}\n")
    return 1 if failed else 0


def command(group: list[str]) -> list[str]:
    """How pytest is started for a group."""
    return [sys.executable, "-m", "pytest", "-q", *group]


def run(group: list[str]) -> int:
    """Run one pytest process; again if the interpreter itself crashed."""
    code = 0
    for _ in range(ATTEMPTS):
        code = subprocess.call(command(group), cwd=ROOT)
        if code >= 0:
            return code
        sys.stderr.write(f"the interpreter crashed (signal {-code}) in {' '.join(group)}\n")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
