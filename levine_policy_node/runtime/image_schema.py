# SPDX-License-Identifier: Apache-2.0
"""The `image` part of a policy document: how a camera frame becomes a tensor."""

from __future__ import annotations

from typing import Annotated, Literal, cast

from pydantic import BeforeValidator, Field, model_validator

from levine_policy_node.strict_model import Strict


def _crop(value: object) -> object:
    """Accept the three forms of a crop; one message instead of one per form."""
    if isinstance(value, (list, tuple)):
        box = tuple(cast("list[object]", value))
        if len(box) in {2, 4} and all(type(n) is int and n >= 0 for n in box) and all(box[-2:]):
            return box
    elif value is None or (isinstance(value, float | int) and 0 < value <= 1):
        return value if value is None else float(value)
    raise ValueError(
        "give an area fraction in (0, 1], [height, width] or [top, left, height, width]"
    )


Positive = Annotated[int, Field(gt=0)]
Size = Annotated[tuple[Positive, Positive], Field(strict=False)]
Channels = Annotated[tuple[float, float, float], Field(strict=False)]


class ImageSpec(Strict):
    """How a camera frame becomes a tensor; the fields are applied in this order.

    Attributes:
        crop: `[top, left, height, width]` or an area fraction, before the resize; `[height,
            width]` cut from the centre after it.
        size: `[height, width]` after the resize.
        resize: `stretch`, or `pad` (keep the aspect, black bars around the centre) or
            `pad_top_left` (black bars above and to the left).
        interpolation: `nearest`, `linear` and `area` as OpenCV has them; `area` averages when it
            makes an image smaller. `bilinear`, `bicubic` and `lanczos` as Pillow has them.
            `crop_and_resize` as TensorFlow's function of that name, with `crop` as an area.
        range: What 0 and 255 become.
        mean: Subtracted per channel, after `range`.
        std: Divided by per channel, after `mean`.
        optional: Whether it may be missing: a camera that the robot does not have, or a goal that
            was not shown yet. The tensor is black then, or `fill`.
        fill: Every value of the tensor of a missing image, where it is not black.
        mask: Graph input, (1,) or (1, steps), that says whether there is an image.
        mask_missing: What the mask is for a missing image; NoMaD's says 1 to hide the goal.
    """

    crop: Annotated[
        tuple[int, int] | tuple[int, int, int, int] | float | None, BeforeValidator(_crop)
    ] = None
    size: Size
    resize: Literal["stretch", "pad", "pad_top_left"] = "stretch"
    interpolation: Literal[
        "nearest", "linear", "area", "bilinear", "bicubic", "lanczos", "crop_and_resize"
    ] = "area"
    range: Annotated[tuple[float, float], Field(strict=False)] = (0.0, 1.0)
    mean: Channels | None = None
    std: Channels | None = None
    layout: Literal["chw", "hwc"] = "chw"
    dtype: Literal["float32", "uint8"] = "float32"
    optional: bool = False
    fill: float | None = None
    mask: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    mask_missing: Literal[0, 1] = 0

    @model_validator(mode="after")
    def _check(self) -> ImageSpec:
        scaled = {"range", "mean", "std"} & self.model_fields_set
        if self.dtype == "uint8" and scaled:
            raise ValueError(f"dtype uint8 keeps the camera's values; remove {sorted(scaled)}")
        if self.dtype == "uint8" and self.fill not in {None, *range(256)}:
            raise ValueError(f"fill: {self.fill:g} is no pixel, which is 0 .. 255")
        if self.range[0] >= self.range[1]:
            raise ValueError("range: the first value must be below the second")
        if (self.mean is None) != (self.std is None):
            raise ValueError("give both mean and std, or neither")
        if self.std is not None and min(self.std) <= 0:
            raise ValueError("std: must be above 0")
        if self.interpolation == "crop_and_resize" and (
            not isinstance(self.crop, float) or self.resize != "stretch"
        ):
            raise ValueError(
                "interpolation crop_and_resize needs a crop that is a part of the area"
            )
        if self.centre_crop is not None and any(map(int.__gt__, self.centre_crop, self.size)):
            raise ValueError("crop: the centre crop is larger than size")
        return self

    @property
    def centre_crop(self) -> tuple[int, int] | None:
        """`[height, width]` to cut after the resize, if the crop has that form."""
        return self.crop if isinstance(self.crop, tuple) and len(self.crop) == 2 else None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the tensor without its batch axis."""
        height, width = self.centre_crop or self.size
        return (3, height, width) if self.layout == "chw" else (height, width, 3)
