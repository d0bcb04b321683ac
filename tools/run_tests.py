# SPDX-License-Identifier: Apache-2.0
"""Run every test; each file that uses ROS 2 gets a process of its own.

rclpy's wheels crash now and then while a node is destroyed (a segmentation fault in
`Node.destroy_node`, seen about once in 200 tests). A crash of the interpreter says nothing about
the test, so such a file is run again, and the crash is reported; a failed test is never repeated.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ATTEMPTS = 3
NO_TESTS = 5


def main() -> int:
    """Run the groups in turn and return 0 if every test passed."""
    plain = ["test/unit", "test/runtime", "test/test_architecture.py"]
    with_ros = [
        str(path.relative_to(ROOT))
        for level in ("ros", "system")
        for path in sorted((ROOT / "test" / level).glob("test_*.py"))
    ]
    # Software GL leaves denormals switched off in the process, so sim has its own.
    groups = [plain, *([path] for path in with_ros), ["test/launch"], ["test/sim"]]
    failed = [group for group in groups if run(group) not in {0, NO_TESTS}]
    for group in failed:
        sys.stderr.write(f"failed: {' '.join(group)}\n")
    return 1 if failed else 0


def run(group: list[str]) -> int:
    """Run one pytest process; again if the interpreter itself crashed."""
    code = 0
    for _ in range(ATTEMPTS):
        code = subprocess.call([sys.executable, "-m", "pytest", "-q", *group], cwd=ROOT)
        if code >= 0:
            return code
        sys.stderr.write(f"the interpreter crashed (signal {-code}) in {' '.join(group)}\n")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
