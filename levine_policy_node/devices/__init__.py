# SPDX-License-Identifier: Apache-2.0
"""Input devices of operators: a file each, one protocol (`device.py`), found by `registry.py`."""
