# SPDX-License-Identifier: Apache-2.0
"""Where graphs run: ONNX Runtime's execution providers, without fallbacks that nobody sees."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal, get_args

from levine_policy_node.errors import BundleError

Place = Literal["tensorrt", "cuda", "cpu"]
Provider = Literal["auto", "tensorrt", "cuda", "cpu"]
PROVIDERS: tuple[Provider, ...] = get_args(Provider)

PROVIDER_NAMES: dict[Place, str] = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}

# Full float32: TF32 keeps 10 bits and would miss the tolerances that policies are tested at. The
# default search of cuDNN tries every algorithm in the first run.
_CUDA = {
    "device_id": "0",
    "use_tf32": "0",
    "cudnn_conv_algo_search": "HEURISTIC",
    "arena_extend_strategy": "kSameAsRequested",
}
_TENSORRT = {"device_id": "0", "trt_fp16_enable": "0"}


def places(asked: Provider, offered: Collection[str]) -> tuple[Place, ...]:
    """Where to try to run, in order; more than one place only for `auto`.

    Args:
        asked: What the user chose.
        offered: Names of the execution providers that ONNX Runtime was built with.

    Raises:
        BundleError: If it was built without the one that is asked for.
    """
    there: tuple[Place, ...] = tuple(
        place for place, name in PROVIDER_NAMES.items() if name in offered
    )
    if asked == "auto":
        return there
    if asked not in there:
        raise BundleError(
            "policy",
            "provider",
            f"'{asked}' is not offered by this ONNX Runtime, which has {', '.join(there)}",
            "Install onnxruntime-gpu, or use provider cpu or auto",
        )
    return (asked,)


def provider_options(
    place: Place, engines: str | None = None, *, capture: bool = False
) -> dict[str, Any]:
    """What the execution provider of a place is told.

    Args:
        place: Which.
        engines: Private directory for TensorRT's engines, which take minutes to build.
        capture: Whether runs are recorded as one CUDA graph and replayed.
    """
    if place == "cpu":
        return {}
    if place == "cuda":
        return {**_CUDA, "enable_cuda_graph": "1" if capture else "0"}
    if engines is None:
        return dict(_TENSORRT)
    return {
        **_TENSORRT,
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": engines,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": engines,
    }
