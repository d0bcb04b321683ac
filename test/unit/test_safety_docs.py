# SPDX-License-Identifier: Apache-2.0
"""docs/safety.md says what the code does."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from levine_policy_node.core.modes import TRANSITIONS, Event

ROOT = Path(__file__).parents[2]
_SPEC = importlib.util.spec_from_file_location("safety_docs", ROOT / "tools" / "safety_docs.py")
safety_docs = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(safety_docs)


def test_the_tables_of_the_document_are_those_of_the_code():
    text = (ROOT / "docs" / "safety.md").read_text()
    assert safety_docs.written(text) == text, "stale; run python tools/safety_docs.py"


def test_the_diagram_shows_every_change_of_mode_but_the_emergency_stop():
    drawn = set(re.findall(r"^    (\w+) --> (\w+): ", safety_docs.diagram(), re.MULTILINE))
    expected = {
        (mode.value, new.mode.value)
        for (mode, event), new in TRANSITIONS.items()
        if event is not Event.DEMAND_ESTOP and mode is not new.mode
    }
    standing = {("STOPPING", mode) for mode in ("PAUSED", "DISARMED", "PSTOP", "FAULT")}
    assert drawn == expected | standing


def test_readme_and_document_say_what_it_is_and_what_not():
    for name in ("README.md", "docs/safety.md"):
        text = " ".join((ROOT / name).read_text().split())
        assert "run-time assurance, not a safety-rated function" in text, name
