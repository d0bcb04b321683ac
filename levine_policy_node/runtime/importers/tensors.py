# SPDX-License-Identifier: Apache-2.0
"""What graph inputs and outputs are, by the names that exporters give them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from levine_policy_node.errors import BundleError
from levine_policy_node.runtime.importers.draft import (
    FROM_RADIANS,
    KIND,
    OBSERVED,
    TO_RADIANS,
    joint_names,
)
from levine_policy_node.runtime.importers.fields import refused
from levine_policy_node.runtime.made_schema import PolicyKind
from levine_policy_node.runtime.tensor_info import TensorInfo

STATES = ("observation.state", "state", "qpos")
ACTIONS = ("action", "actions", "action_chunk", "mu")
RECURRENT = {"h_in": "h_out", "c_in": "c_out"}
_POLICY: dict[str, PolicyKind] = {
    "noise": "policy/noise",
    "action_prefix": "policy/action_prefix",
    "prev_chunk_left_over": "policy/action_prefix",
    "delay": "policy/inference_delay",
    "inference_delay": "policy/inference_delay",
    "execution_horizon": "policy/execution_horizon",
    "max_guidance_weight": "policy/max_guidance_weight",
}
_IMAGE = re.compile(r"(?:observation\.)?images?[._]([A-Za-z0-9_]+)|image(\d+)")
_SUFFIXES = {".pos": "position", ".vel": "velocity"}
_NOT_YET = {
    "tokens": "command/language",
    "input_ids": "command/language",
    "pixel_values": "a vision-language policy",
    "goal": "command/image",
    "past_key_values": "a key-value cache",
    "mask": "an input mask",
    "x_t": "a flow decoder",
    "sample": "a diffusion decoder",
    "timestep": "a diffusion or flow decoder",
}


def camera_of(name: str) -> str | None:
    """Camera of an image input, or None if the name is not that of an image."""
    match = _IMAGE.fullmatch(name)
    return None if match is None else match[1] or f"image{match[2]}"


def policy_kind(name: str) -> PolicyKind | None:
    """Kind of an input that the runtime makes, or None."""
    return _POLICY.get(name)


def unknown_input(file: str, name: str, info: TensorInfo) -> BundleError:
    """The refusal of a graph input that nothing here can feed."""
    meant = next((what for part, what in _NOT_YET.items() if part in name), "")
    hint = f" (it looks like {meant})" if meant else ""
    return refused(
        file,
        f"input {name}",
        f"is {info}{hint}, and the export does not say what it is",
        "Describe it in a policy.yaml; docs/bundles.md lists what can be described",
    )


def width(file: str, what: str, info: TensorInfo) -> int:
    """Columns of a vector of shape (1, D).

    Raises:
        BundleError: If it has another shape; a history is not supported.
    """
    shape = info.shape
    if info.dtype != "float32" or len(shape) != 2 or not isinstance(shape[1], int):
        raise refused(
            file, what, f"is {info}, expected float32 of shape [1, D]; histories are not supported"
        )
    return shape[1]


def rows_and_columns(file: str, what: str, info: TensorInfo, rows: int | None) -> tuple[int, int]:
    """(T, A) of an action of shape (1, T, A) or (1, A); `rows` where the graph leaves T open.

    Raises:
        BundleError: If it has another shape.
    """
    shape = info.shape
    size: int | str | None = shape[1] if len(shape) == 3 else 1
    size = size if isinstance(size, int) else rows
    if info.dtype != "float32" or len(shape) not in {2, 3} or not isinstance(shape[-1], int):
        raise refused(file, what, f"is {info}, expected float32 of shape [1, T, A] or [1, A]")
    if size is None or size < 1 or (rows is not None and size != rows):
        raise refused(file, what, f"is {info}, but the export says {rows} row(s)")
    return size, shape[-1]


def action_output(file: str, outputs: Mapping[str, TensorInfo]) -> str:
    """The output that is the action: by a usual name, or the only one.

    Raises:
        BundleError: If that does not single one out.
    """
    found = [name for name in ACTIONS if name in outputs] or list(outputs)
    if len(found) != 1:
        names = ", ".join(list(outputs)[:6])
        raise refused(
            file, "outputs", f"{names}: cannot tell which is the action", "Write a policy.yaml"
        )
    return found[0]


def image(
    file: str, name: str, info: TensorInfo, camera: str | None, high: float = 1.0
) -> dict[str, Any]:
    """The observation for an image input of shape (1, 3, H, W) or (1, H, W, 3).

    Args:
        file: The graph, for messages.
        name: The input.
        info: What the graph declares of it.
        camera: Its camera.
        high: What 255 becomes; pixels of uint8 stay as they are.
    """
    shape = info.shape
    sizes = [size for size in shape[1:] if isinstance(size, int)]
    if len(shape) != 4 or len(sizes) != 3 or 3 not in {sizes[0], sizes[2]}:
        raise refused(file, f"input {name}", f"is {info}, expected an image of shape [1, 3, H, W]")
    if info.dtype not in {"float32", "uint8"}:
        raise refused(file, f"input {name}", f"is {info}, expected float32 or uint8")
    layout = "chw" if sizes[0] == 3 else "hwc"
    size = sizes[1:] if layout == "chw" else sizes[:2]
    values: dict[str, Any] = {"size": size, "layout": layout}
    if info.dtype == "uint8":
        values["dtype"] = "uint8"
    else:
        values["range"] = [0.0, high]
    return {"kind": "sensor/image", "image": values, **({"camera": camera} if camera else {})}


def joints(names: Sequence[str], count: int) -> tuple[list[str] | str, str | None]:
    """Joint names without LeRobot's suffixes, and what these say the numbers are.

    Returns:
        Names, or a gap for them; `position` or `velocity` if all names say so.
    """
    if not names:
        return joint_names(count), None
    kinds = {kind for suffix, kind in _SUFFIXES.items() if all(n.endswith(suffix) for n in names)}
    if not kinds:
        return list(names), None
    return [name.rsplit(".", 1)[0] for name in names], kinds.pop()


def state(names: Sequence[str], count: int) -> dict[str, Any]:
    """The observation for a vector of joints whose unit the export does not say."""
    known, kind = joints(names, count)
    return {
        "kind": f"state/joint/{kind}" if kind else OBSERVED,
        "names": known,
        "scale": FROM_RADIANS,
    }


def targets(names: Sequence[str], count: int) -> dict[str, Any]:
    """The part of the action for joints whose unit the export does not say."""
    known, kind = joints(names, count)
    return {
        "kind": f"target/joint/{kind}" if kind else KIND,
        "names": known,
        "scale": TO_RADIANS,
    }
