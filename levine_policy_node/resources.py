# SPDX-License-Identifier: Apache-2.0
"""Where the files that ship with the package are.

`config/`, `launch/`, `urdf/` and `policies/` lie beside the package in a source checkout, in
`share/levine_policy_node` after `pip install` or `colcon build`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from levine_policy_node.errors import SystemDependencyError

PACKAGE = "levine_policy_node"


def share_directory() -> Path:
    """Return the directory that holds `config/`, `urdf/`, `launch/` and `policies/`.

    Raises:
        SystemDependencyError: If the package's data files are not installed.
    """
    checkout = Path(__file__).resolve().parent.parent
    candidates = [checkout] if (checkout / "package.xml").is_file() else []
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    candidates += [Path(prefix) / "share" / PACKAGE for prefix in prefixes if prefix]
    candidates.append(Path(sys.prefix) / "share" / PACKAGE)
    for candidate in candidates:
        if (candidate / "config" / "robots").is_dir():
            return candidate
    raise SystemDependencyError(
        f"{PACKAGE}: its data files are not installed (looked in "
        f"{', '.join(str(c) for c in candidates)}). Install it again with pip or colcon"
    )
