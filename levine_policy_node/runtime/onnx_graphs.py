# SPDX-License-Identifier: Apache-2.0
"""The graphs of a bundle as ONNX Runtime sessions, one per role."""

from __future__ import annotations

import re
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy.typing as npt
import onnxruntime  # pyright: ignore[reportMissingTypeStubs]

from levine_policy_node.core.observation import Tensors
from levine_policy_node.errors import BundleError, InferenceError
from levine_policy_node.runtime.graph_schema import Role
from levine_policy_node.runtime.onnx_domains import check_graph
from levine_policy_node.runtime.run_watchdog import RunWatchdog

if TYPE_CHECKING:
    # Importers look into graphs before there is a bundle.
    from levine_policy_node.runtime.bundle import Bundle

Provider = Literal["cpu", "cuda"]
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_DTYPES: dict[str, str] = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(bool)": "bool",
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}
_FROM_MEMORY = "add_external_initializers_from_files_in_memory"

# The package has no type information; what comes out of it is given a type where it is used.
ort = cast("Any", onnxruntime)

# ONNX Runtime's errors share no base but Exception.
_ort_names = cast("dict[str, object]", vars(ort.capi.onnxruntime_pybind11_state))
_ORT_ERRORS: tuple[type[Exception], ...] = (
    RuntimeError,
    ValueError,
    *(e for e in _ort_names.values() if isinstance(e, type) and issubclass(e, Exception)),
)


@dataclass(frozen=True, slots=True)
class OnnxOptions:
    """How a graph is run.

    Attributes:
        provider: `cpu` or `cuda`; one that is not there is an error, never a fallback.
        threads: Threads of one run; more help image encoders only.
        timeout_s: An inference, with all its steps, is stopped after this time [s].
    """

    provider: Provider = "cpu"
    threads: int = 1
    timeout_s: float = 2.0


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """What a graph declares of one input or output.

    Attributes:
        dtype: NumPy's name of the element type, or ONNX Runtime's where there is none here.
        shape: A size, or a name or None where any size goes.
    """

    dtype: str
    shape: tuple[int | str | None, ...]

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of `shape` is what is declared."""
        return len(self.shape) == len(shape) and all(
            not isinstance(size, int) or size == wanted
            for size, wanted in zip(self.shape, shape, strict=True)
        )

    def __str__(self) -> str:
        """As messages show it."""
        return f"{self.dtype} of shape {list(self.shape)}"


@dataclass(frozen=True, slots=True)
class _Loaded:
    file: str
    session: Any
    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]


class OnnxGraphs:
    """One session per role, made from verified bytes.

    Attributes:
        spent_s: Time the last inference spent inside the graphs [s].

    Raises:
        BundleError: If ONNX Runtime cannot load a graph.
    """

    def __init__(self, bundle: Bundle, options: OnnxOptions) -> None:
        self._timeout_s = options.timeout_s
        self._loaded: dict[str, _Loaded] = {
            role: _load(bundle, graph.file, options)
            for role, graph in bundle.document.graphs.files.items()
        }
        self._watchdog = RunWatchdog(options.timeout_s)
        self._limits: Any = ort.RunOptions()
        self.spent_s = 0.0

    @property
    def roles(self) -> tuple[Role, ...]:
        """Roles that have a graph, in the order they run."""
        return tuple(self._loaded)

    def file(self, role: Role) -> str:
        """The graph's file, for messages."""
        return self._loaded[role].file

    def inputs(self, role: Role) -> Mapping[str, TensorInfo]:
        """What the graph takes, by name."""
        return self._loaded[role].inputs

    def outputs(self, role: Role) -> Mapping[str, TensorInfo]:
        """What the graph returns, by name."""
        return self._loaded[role].outputs

    @contextmanager
    def inference(self) -> Generator[None]:
        """Everything that runs inside is one inference: timed, and stopped when it takes long."""
        limits = self._limits = ort.RunOptions()
        self.spent_s = 0.0
        with self._watchdog.guard(lambda: setattr(limits, "terminate", True)):
            yield

    def run(self, role: str, inputs: Tensors) -> Tensors:
        """Run one graph once; see `core.decoders.decoder.Graphs`."""
        graph = self._loaded[role]
        feed = {name: inputs[name] for name in graph.inputs}
        names = list(graph.outputs)
        values: list[npt.NDArray[Any]]
        begin_s = time.perf_counter()
        try:
            values = graph.session.run(names, feed, self._limits)
        except _ORT_ERRORS as error:
            if self._limits.terminate:
                raise InferenceError(
                    f"{graph.file}: ran longer than {self._timeout_s} s"
                ) from error
            raise InferenceError(f"{graph.file}: {' '.join(str(error).split())[:300]}") from error
        self.spent_s += time.perf_counter() - begin_s
        return dict(zip(names, values, strict=True))

    def close(self) -> None:
        """Stop the watchdog and free the sessions; the graphs must not run any more."""
        self._watchdog.close()
        self._loaded.clear()


def _load(bundle: Bundle, name: str, options: OnnxOptions) -> _Loaded:
    session = _session(bundle, name, options)
    return _Loaded(
        str(bundle.path / name),
        session,
        _infos(session.get_inputs()),
        _infos(session.get_outputs()),
    )


def _infos(values: Any) -> dict[str, TensorInfo]:
    return {
        str(v.name): TensorInfo(_DTYPES.get(str(v.type), str(v.type)), tuple(v.shape))
        for v in values
    }


def _weights(bundle: Bundle, name: str) -> dict[str, bytes]:
    """Files that are no graph, statistics or tokenizer: weights that a graph refers to.

    A graph names them from its own folder.
    """
    document = bundle.document
    folder = PurePosixPath(name).parent
    known = {graph.file for graph in document.graphs.files.values()} | {*document.tokenizers}
    if isinstance(document.stats, str):
        known.add(document.stats)
    return {
        str(path.relative_to(folder) if path.is_relative_to(folder) else path): bundle.files[file]
        for file, path in ((file, PurePosixPath(file)) for file in bundle.files)
        if file not in known
    }


def _session(bundle: Bundle, name: str, options: OnnxOptions) -> Any:
    provider = _PROVIDERS[options.provider]
    if provider not in ort.get_available_providers():
        raise BundleError(
            "policy",
            "provider",
            f"'{options.provider}' is not offered by this ONNX Runtime ({ort.__version__})",
            "Install onnxruntime-gpu or use provider cpu",
        )
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    settings.log_severity_level = 3
    # Spinning threads burn a core between runs and delay the control loop (measured: 77 % of a
    # core at 50 Hz with spinning, 11 % without).
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.add_session_config_entry("session.set_denormal_as_zero", "1")
    if options.provider != "cpu":
        settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    file = str(bundle.path / name)
    weights = _weights(bundle, name)
    check_graph(bundle.files[name], file, weights)
    _add_weights(settings, file, weights)
    session = _made(bundle.files[name], file, settings, provider)
    if session.get_providers()[0] != provider:
        raise BundleError(
            file, "provider", f"runs on {session.get_providers()[0]}, not on {provider}"
        )
    return session


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


def _made(content: bytes, file: str, settings: Any, provider: str) -> Any:
    try:
        return ort.InferenceSession(content, settings, providers=[provider])
    except _ORT_ERRORS as error:
        detail = re.sub(r"\s+", " ", str(error))[:300]
        raise BundleError(file, "", f"ONNX Runtime cannot load it ({detail})") from error


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
    session = _made(content, file, settings, _PROVIDERS["cpu"])
    metadata = cast("dict[str, str]", session.get_modelmeta().custom_metadata_map)
    return GraphInfo(_infos(session.get_inputs()), _infos(session.get_outputs()), dict(metadata))
