# SPDX-License-Identifier: Apache-2.0
"""Pictures of an episode on one sheet: a row per camera, framed by who had the arm."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from levine_policy_node.cli.episode_plot import COLOURS
from levine_policy_node.core.labels import Phase
from levine_policy_node.core.observation import Pixels
from levine_policy_node.errors import RecordingError
from levine_policy_node.runtime.episode_view import EpisodeView

_COLUMNS = 8
_WIDTH = 200
_FRAME = 6
_CAPTION = 18


def contact_sheet(view: EpisodeView, image_file: Path) -> Path:
    """Draw pictures of every camera, evenly over the episode; returns `image_file`.

    Raises:
        RecordingError: If no camera was recorded, or an image is damaged.
    """
    streams = {name: s for name, s in sorted(view.episode.images.items()) if len(s)}
    if not streams:
        raise RecordingError(f"{view.episode.path}: no camera was recorded")
    begin, end = int(view.episode.start_ns), int(view.episode.end_ns)
    wanted = np.linspace(begin, end, _COLUMNS + 1)[:-1] + (end - begin) / (2 * _COLUMNS)
    rows: list[Pixels] = []
    for name, stream in streams.items():
        nearest = [int(np.abs(stream.log_ns - t).argmin()) for t in wanted]
        tiles = [_tile(view, stream.pixels(i), int(stream.log_ns[i]), name) for i in nearest]
        rows.append(np.hstack(tiles))
    width = max(row.shape[1] for row in rows)
    sheet = np.vstack([np.pad(r, ((0, 0), (0, width - r.shape[1]), (0, 0))) for r in rows])
    image_file.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(image_file), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)):
        raise RecordingError(f"{image_file}: cannot be written as a picture. Use a .png")
    return image_file


def _tile(view: EpisodeView, pixels: Pixels, log_ns: int, name: str) -> Pixels:
    height = max(round(pixels.shape[0] * _WIDTH / pixels.shape[1]), 1)
    small = cv2.resize(pixels, (_WIDTH, height), interpolation=cv2.INTER_AREA)
    phase = Phase(view.phase_at(log_ns))
    colour = tuple(int(COLOURS[phase][i : i + 2], 16) for i in (1, 3, 5))
    tile = np.full((height + 2 * _FRAME + _CAPTION, _WIDTH + 2 * _FRAME, 3), colour, np.uint8)
    tile[_FRAME : _FRAME + height, _FRAME : _FRAME + _WIDTH] = small
    second = view.seconds(np.array([log_ns]))[0]
    short = name.removesuffix("/compressed").removesuffix("/image").rsplit("/", 1)[-1]
    text = f"{second:.1f} s {phase.name.lower()} {short}"
    place = (_FRAME, height + _FRAME + _CAPTION - 4)
    cv2.putText(tile, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.38, (0, 0, 0), 1, cv2.LINE_AA)
    return tile
