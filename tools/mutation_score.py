# SPDX-License-Identifier: Apache-2.0
"""Say what `mutmut run` found: each mutant that survived, and the score of every module.

Fails below the score that the safety core is to have, or while mutants have not been judged.
"""

from __future__ import annotations

import ast
import difflib
import json
from collections.abc import Iterator
from pathlib import Path

MUTANTS = Path("mutants")
REQUIRED = 0.95
# Exit codes as mutmut means them: every test passed, or none reaches the mutant.
_SURVIVED = frozenset({0, 5, 33})
# Interrupted or left out; anything else killed the mutant, a timeout and a crash included.
_NOT_JUDGED = frozenset({None, 2, 34})


def main() -> int:
    """Print survivors and scores; return 0 if the score of all modules together is enough."""
    rows: list[tuple[str, int, int, int]] = []
    for meta in sorted(MUTANTS.rglob("*.py.meta")):
        verdicts: dict[str, int | None] = json.loads(meta.read_text())["exit_code_by_key"]
        survived = [key for key, verdict in verdicts.items() if verdict in _SURVIVED]
        open_ = sum(verdict in _NOT_JUDGED for verdict in verdicts.values())
        if verdicts:
            rows.append((meta.name.removesuffix(".py.meta"), len(verdicts), len(survived), open_))
        for line in _changes(meta.with_suffix(""), survived):
            print(line)
    if not rows:
        print(f"{MUTANTS}/ has no results: run make mutants")
        return 1
    rows.append(("all", *(sum(row[i] for row in rows) for i in (1, 2, 3))))
    print(f"\n{'module':<20}{'mutants':>9}{'survived':>10}{'not judged':>12}{'score':>9}")
    for name, made, survived, open_ in rows:
        score = _score(made, survived, open_)
        print(f"{name:<20}{made:>9}{survived:>10}{open_:>12}{score:>9.1%}")
    _, made, survived, open_ = rows[-1]
    return int(open_ > 0 or _score(made, survived, open_) < REQUIRED)


def _score(made: int, survived: int, open_: int) -> float:
    judged = made - open_
    return (judged - survived) / judged if judged else 0.0


def _changes(module: Path, keys: list[str]) -> Iterator[str]:
    """Each survivor with the lines it changes."""
    source = module.read_text()
    lines = source.splitlines()
    functions = {
        node.name: lines[node.lineno : node.end_lineno]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef)
    }
    for key in keys:
        name = key.rsplit(".", 1)[-1]
        original = functions[f"{name.rsplit('__mutmut_', 1)[0]}__mutmut_orig"]
        changed = [
            f"{line[0]} {line[1:].strip()}"
            for line in difflib.unified_diff(original, functions[name], n=0, lineterm="")
            if line[0] in "+-" and line[:3] not in {"+++", "---"}
        ]
        yield f"{key}: {' '.join(changed)}"


if __name__ == "__main__":
    raise SystemExit(main())
