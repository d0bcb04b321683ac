# SPDX-License-Identifier: Apache-2.0
"""Prepare `.venv` for `make demo` and `make test`; standard library only.

Without a sourced ROS 2, rclpy and the message packages come as wheels from PyPI. With one, they
come from it, and the venv sees its Python packages. Nothing is done again while constraints.txt,
setup.py, the Python version and the choice of ROS stay the same.
"""

from __future__ import annotations

import ctypes.util
import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "levine_setup"
PYTHON = VENV / "bin" / "python"
EXTRAS = "sim,demo,language,cartesian,collision,remote,export,test,lint"
OLDEST, NEWEST = (3, 10), (3, 14)


def main() -> int:
    """Prepare the environment and return an exit code."""
    problem = missing_from_system()
    if problem:
        sys.stderr.write(f"error: {problem}\n")
        return 1
    ros_distro = sourced_ros()
    wanted = fingerprint(ros_distro)
    if STAMP.is_file() and PYTHON.exists() and STAMP.read_text() == wanted:
        return 0
    source = f"ROS 2 {ros_distro} from this shell" if ros_distro else "ROS 2 wheels from PyPI"
    sys.stdout.write(f"Preparing .venv with {source} (one to three minutes)\n")
    sys.stdout.flush()
    create = [sys.executable, "-m", "venv", str(VENV)]
    run([*create, "--system-site-packages"] if ros_distro else create, "creating .venv")
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    constraints = ["-c", str(ROOT / "constraints.txt")]
    if ros_distro:
        # The message packages of a distribution are built against its NumPy 1.
        constraints, numpy = [], ["numpy<2"]
    else:
        numpy = ["numpy"]
    run([*pip, *constraints, "pip", "setuptools", "wheel", *numpy], "installing pip")
    extras = EXTRAS if ros_distro else f"ros,{EXTRAS}"
    command = [*pip, *constraints, "--no-build-isolation", "-e", f"{ROOT}[{extras}]", *numpy]
    run(command, "installing the package and its dependencies")
    STAMP.write_text(wanted)
    return 0


def missing_from_system() -> str:
    """Name what the operating system lacks, with its apt package; "" if nothing."""
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        found = ".".join(map(str, sys.version_info[:2]))
        return f"Python 3.10 to 3.14 is needed, this is {found}; run make PYTHON=python3.11"
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        return "Python has no venv module; run: apt-get install python3-venv"
    if not (ctypes.util.find_library("OSMesa") or ctypes.util.find_library("EGL")):
        return (
            "no library for rendering without a display; "
            "run: apt-get install libegl1 libgl1-mesa-dri"
        )
    return ""


def sourced_ros() -> str:
    """Name of the ROS 2 distribution sourced in this shell whose rclpy imports; "" if none."""
    distro = os.environ.get("ROS_DISTRO", "")
    if not distro:
        return ""
    found = subprocess.run(
        [sys.executable, "-c", "import rclpy, sensor_msgs.msg"], capture_output=True, check=False
    )
    return distro if found.returncode == 0 else ""


def fingerprint(ros_distro: str) -> str:
    """Hash of everything the environment depends on."""
    digest = hashlib.sha256(f"{sys.version} {ros_distro} {EXTRAS}".encode())
    for name in ("constraints.txt", "setup.py", "tools/setup_venv.py"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def run(command: list[str], doing: str) -> None:
    """Run a command, or end with one line and its last words."""
    sys.stdout.write(f"  {doing}\n")
    sys.stdout.flush()
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        words = (result.stderr or result.stdout).strip().splitlines()
        last = words[-1] if words else "no output"
        raise SystemExit(f"error: {doing} failed: {last}")


if __name__ == "__main__":
    raise SystemExit(main())
