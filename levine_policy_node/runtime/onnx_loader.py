# SPDX-License-Identifier: Apache-2.0
"""Verified bytes of a graph become a session of ONNX Runtime, where it is asked to run."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from levine_policy_node.errors import BundleError
from levine_policy_node.runtime.graph_cache import MAX_GRAPH_BYTES, GraphCache, graph_key
from levine_policy_node.runtime.onnx_domains import check_graph
from levine_policy_node.runtime.onnx_providers import (
    PROVIDER_NAMES,
    Place,
    Provider,
    places,
    provider_options,
)
from levine_policy_node.runtime.ort import ORT_ERRORS, one_line, ort
from levine_policy_node.runtime.tensor_info import TensorInfo

_DTYPES: dict[str, str] = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(bool)": "bool",
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}
_FROM_MEMORY = "add_external_initializers_from_files_in_memory"


@dataclass(frozen=True, slots=True)
class OnnxOptions:
    """How graphs are run.

    Attributes:
        provider: `tensorrt`, `cuda` or `cpu`; one that cannot take a whole graph is an error,
            never a fallback. `auto` is the first of them that can.
        threads: Threads of one run; more help image encoders only.
        timeout_s: An inference, with all its steps, is stopped after this time [s].
        cache: Where small graphs are kept as they were optimised for this host, and TensorRT's
            engines; None for nowhere.
    """

    provider: Provider = "cpu"
    threads: int = 1
    timeout_s: float = 2.0
    cache: Path | None = None


@dataclass(frozen=True, slots=True)
class GraphFiles:
    """A graph's verified bytes.

    Attributes:
        content: Of the graph.
        file: Its name, for messages.
        weights: Files it refers to, by the names it has for them.
    """

    content: bytes
    file: str
    weights: Mapping[str, bytes] = field(default_factory=dict[str, bytes])


def declared(values: Any) -> dict[str, TensorInfo]:
    """What a session's inputs or outputs are, by name."""
    return {
        str(v.name): TensorInfo(_DTYPES.get(str(v.type), str(v.type)), tuple(v.shape))
        for v in values
    }


def offered_places(asked: Provider) -> tuple[Place, ...]:
    """Where to try to run on this host, in order.

    Raises:
        BundleError: If ONNX Runtime was built without what is asked for.
    """
    return places(asked, ort.get_available_providers())


def make_session(
    graph: GraphFiles, place: Place, options: OnnxOptions, *, capture: bool = False
) -> Any:
    """ONNX Runtime's session of a graph, from the cache of optimised graphs if it is there.

    Args:
        graph: Its bytes.
        place: Where it runs.
        options: How it is run.
        capture: Whether a CUDA graph is recorded.

    Raises:
        BundleError: If ONNX Runtime cannot load it, or not all of it there.
    """
    check_graph(graph.content, graph.file, graph.weights)
    engines = None
    if place == "tensorrt" and options.cache is not None:
        private = GraphCache.open(options.cache / "tensorrt")
        engines = None if private is None else str(private.directory)
    provider = PROVIDER_NAMES[place], provider_options(place, engines, capture=capture)
    cache = None if options.cache is None else GraphCache.open(options.cache)
    size = len(graph.content) + sum(map(len, graph.weights.values()))
    # TensorRT keeps engines of its own, and its graphs cannot be written.
    if cache is None or place == "tensorrt" or size > MAX_GRAPH_BYTES:
        return _whole_session(graph, provider, _settings(place, options))
    key = graph_key(graph.content, graph.weights, ort.__version__, ort.get_build_info(), place)
    known = cache.read(key)
    if known is not None:
        settings = _settings(place, options)
        settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            return _made(known, graph.file, settings, provider)
        except BundleError:
            cache.forget(key)
    with tempfile.TemporaryDirectory(prefix="levine_graph_") as folder:
        written = Path(folder) / "optimised.onnx"
        settings = _settings(place, options)
        settings.optimized_model_filepath = str(written)
        session = _whole_session(graph, provider, settings)
        if written.is_file():
            cache.keep(key, written.read_bytes())
    return session


def _settings(place: Place, options: OnnxOptions) -> Any:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    # That an optimised graph is for this host only is known.
    settings.log_severity_level = 3
    # Spinning threads burn a core between runs and delay the control loop (measured: 77 % of a
    # core at 50 Hz with spinning, 11 % without).
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.add_session_config_entry("session.set_denormal_as_zero", "1")
    if place != "cpu":
        settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return settings


def _add_weights(settings: Any, file: str, weights: Mapping[str, bytes]) -> None:
    """Hand over the weights that lie in other files."""
    if not weights:
        return
    # Not in the last ONNX Runtime for Python 3.10.
    if not hasattr(settings, _FROM_MEMORY):
        raise BundleError(
            file,
            "",
            f"has weights in other files, which ONNX Runtime {ort.__version__} cannot read "
            "from memory",
            "Use a newer ONNX Runtime, or export the graph as one file",
        )
    getattr(settings, _FROM_MEMORY)(
        list(weights), list(weights.values()), [len(data) for data in weights.values()]
    )


def _whole_session(graph: GraphFiles, provider: tuple[str, dict[str, Any]], settings: Any) -> Any:
    """A session of the graph as the bundle has it."""
    _add_weights(settings, graph.file, graph.weights)
    return _made(graph.content, graph.file, settings, provider)


def _made(content: bytes, file: str, settings: Any, provider: tuple[str, dict[str, Any]]) -> Any:
    try:
        # ONNX Runtime for Python begins anew on the CPU when a provider fails, unless told not to.
        session = ort.InferenceSession(content, settings, providers=[provider], enable_fallback=0)
    except ORT_ERRORS as error:
        raise BundleError(
            file, "", f"ONNX Runtime cannot load it ({provider[0]}: {one_line(error)})"
        ) from error
    took = session.get_providers()[0]
    if took != provider[0]:
        raise BundleError(
            file,
            "provider",
            f"{provider[0]} did not start, and it would run on {took}",
            "Install the driver and libraries this onnxruntime-gpu needs, or use provider cpu",
        )
    return session


@dataclass(frozen=True, slots=True)
class GraphInfo:
    """What a graph says of itself.

    Attributes:
        inputs: By name.
        outputs: By name.
        metadata: Its `metadata_props`.
    """

    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]


def graph_info(content: bytes, file: str, weights: Mapping[str, bytes]) -> GraphInfo:
    """Look into a graph without running it.

    Args:
        content: Its bytes.
        file: Its name, for messages.
        weights: Files it refers to, by the names it has for them.

    Raises:
        BundleError: If ONNX Runtime cannot load it.
    """
    settings = ort.SessionOptions()
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    settings.intra_op_num_threads = 1
    settings.log_severity_level = 4
    check_graph(content, file, weights)
    _add_weights(settings, file, weights)
    session = _made(content, file, settings, (PROVIDER_NAMES["cpu"], {}))
    metadata = cast("dict[str, str]", session.get_modelmeta().custom_metadata_map)
    return GraphInfo(
        declared(session.get_inputs()), declared(session.get_outputs()), dict(metadata)
    )
