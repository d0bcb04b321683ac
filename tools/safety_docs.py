# SPDX-License-Identifier: Apache-2.0
"""Write the parts of docs/safety.md that come from the code: diagram, tables and invariants.

python tools/safety_docs.py           # after a change of modes, faults, permits or invariants
python tools/safety_docs.py --check   # exits 1 if the document says something else
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "safety.md"
sys.path[:0] = [str(ROOT), str(ROOT / "test" / "unit")]

from supervisor_invariants import invariants  # noqa: E402  found by the line above

from levine_policy_node.bench.docs_section import replace_section  # noqa: E402
from levine_policy_node.core.faults import RESPONSES, Severity  # noqa: E402
from levine_policy_node.core.modes import (  # noqa: E402
    ACTIVE,
    ACTS,
    COMMANDING,
    DEMANDS,
    ENERGISED,
    LATCHED,
    MOVING,
    TRANSITIONS,
    Event,
    Mode,
    ModeState,
    next_mode,
)
from levine_policy_node.core.permits import PERMITS  # noqa: E402

_NAMED = {
    frozenset(Mode): "every mode",
    ENERGISED: "ARMED, PAUSED, POLICY, HUMAN, STOPPING",
    COMMANDING: "ARMED, PAUSED, POLICY, HUMAN, STOPPING, PSTOP",
    ACTIVE: "POLICY, HUMAN",
    MOVING: "POLICY, HUMAN, STOPPING",
    LATCHED: "PSTOP, FAULT, ESTOP",
}
_SERVICES = {
    Event.TAKEOVER: "`supervisor/takeover` with true",
    Event.HANDBACK: "`supervisor/takeover` with false (hand back)",
}
_DEMANDED = {
    Severity.PAUSE: "a pause: STOPPING(PAUSED) where the arm moves",
    Severity.PSTOP: "PSTOP, through STOPPING where the arm moves",
    Severity.FAULT: "FAULT, through STOPPING where the arm moves",
    Severity.ESTOP: "ESTOP, at once",
}


def sections() -> dict[str, str]:
    """Every generated section by the name in its markers."""
    return {
        "modes": diagram(),
        "transitions": transitions(),
        "acts": acts(),
        "faults": faults(),
        "invariants": listed_invariants(),
    }


def moves() -> list[tuple[ModeState, Event, ModeState]]:
    """Every row of the mode table, and what standstill makes of STOPPING."""
    found = [(ModeState(mode), event, new) for (mode, event), new in TRANSITIONS.items()]
    for target in (Mode.PAUSED, Mode.DISARMED, Mode.PSTOP, Mode.FAULT):
        stopping = ModeState(Mode.STOPPING, target)
        new = next_mode(stopping, Event.STANDSTILL)
        if new is not None:
            found.append((stopping, Event.STANDSTILL, new))
    return found


def diagram() -> str:
    """The mode table as a Mermaid diagram; the emergency stop, possible everywhere, is a note."""
    labels: dict[tuple[Mode, Mode], list[str]] = {}
    for old, event, new in moves():
        if event is Event.DEMAND_ESTOP or old.mode is new.mode:
            continue
        words = labels.setdefault((old.mode, new.mode), [])
        label = _short(event)
        if label not in words:
            words.append(label)
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> INIT"]
    lines += [
        f"    {old.value} --> {new.value}: {', '.join(words)}"
        for (old, new), words in labels.items()
    ]
    note = "from every mode, at once, by the e-stop line"
    return "\n".join([*lines, f"    note right of ESTOP: {note}", "```"])


def _short(event: Event) -> str:
    if event in DEMANDS:
        return f"fault ({event.name.removeprefix('DEMAND_')})"
    return event.value


def transitions() -> str:
    """All rows, those of several modes together."""
    rows: dict[tuple[Event, str], list[str]] = {}
    for old, event, new in moves():
        mode = str(old)
        rows.setdefault((event, str(new)), []).append(mode)
    order = list(Event)
    table = [
        (", ".join(modes), _short(event), _who(event), new)
        for (event, new), modes in sorted(rows.items(), key=lambda row: order.index(row[0][0]))
    ]
    return _table(("in", "on", "brought about by", "becomes"), table)


def _who(event: Event) -> str:
    if event in ACTS:
        return "an operator's act"
    return "a fault" if event in DEMANDS else "the supervisor"


def acts() -> str:
    """Every act with where it is possible and what it needs."""
    rows = []
    for act in (event for event in Event if event in ACTS):
        modes = [mode.value for mode, event in TRANSITIONS if event is act]
        permit = PERMITS.get(act)
        needs = _sentence(permit) if permit else "Nothing: it asks for less motion."
        rows.append((_SERVICES.get(act, f"`supervisor/{act.value}`"), ", ".join(modes), needs))
    return _table(("act", "possible in", "needs"), rows)


def faults() -> str:
    """Every fault with what it demands."""
    rows = [
        (
            f"`{fault.name}`",
            fault.value,
            _DEMANDED[response.severity],
            _NAMED.get(response.modes, ", ".join(m.value for m in Mode if m in response.modes)),
            response.clears.value,
        )
        for fault, response in sorted(
            RESPONSES.items(), key=lambda row: (-row[1].severity, row[0].name)
        )
    ]
    return _table(("fault", "what is seen", "demands", "looked for in", "forgotten"), rows)


def listed_invariants() -> str:
    """Every invariant with its sentence."""
    return "\n".join(
        f"{i}. *{check.__name__.replace('_', ' ')}*: {_sentence(check)}"
        for i, check in enumerate(invariants(), start=1)
    )


def _sentence(documented: object) -> str:
    """A docstring in one line."""
    return " ".join((inspect.getdoc(documented) or "").split())


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    rule = ["---"] * len(header)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))


def written(text: str) -> str:
    """The document with every generated section as the code has it."""
    for name, body in sections().items():
        text = replace_section(text, name, body)
    return text


def main() -> int:
    """Write the document, or say whether it is as the code is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if it is stale")
    check = parser.parse_args().check
    text = DOCUMENT.read_text()
    new = written(text)
    if check:
        if new != text:
            sys.stderr.write(f"{DOCUMENT}: stale; run python tools/safety_docs.py\n")
        return int(new != text)
    DOCUMENT.write_text(new)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
