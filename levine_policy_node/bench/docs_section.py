# SPDX-License-Identifier: Apache-2.0
"""Generated parts of a Markdown file, between markers, so that the rest can be written by hand."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import numpy as np


def replace_section(text: str, name: str, body: str) -> str:
    """Put `body` between the markers of `name`; without markers they are appended."""
    begin, end = f"<!-- {name}: generated, begin -->", f"<!-- {name}: generated, end -->"
    section = f"{begin}\n{body.strip()}\n{end}"
    before, found, rest = text.partition(begin)
    if not found:
        return f"{text.rstrip()}\n\n{section}\n".lstrip()
    _, _, after = rest.partition(end)
    return f"{before}{section}{after}"


def write_section(file: Path, name: str, body: str) -> None:
    """Replace or append one section of a Markdown file, which need not exist."""
    text = file.read_text() if file.exists() else "# Benchmarks\n"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(replace_section(text, name, body))


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, all columns but the first aligned right."""
    rule = ["---", *["--:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))


def machine() -> str:
    """What a benchmark ran on, without anything that names it."""
    return (
        f"{os.cpu_count()} CPUs ({platform.machine()}), {platform.system()}, "
        f"Python {platform.python_version()}, NumPy {np.__version__}"
    )
