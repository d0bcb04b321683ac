# SPDX-License-Identifier: Apache-2.0
"""One ONNX graph on ONNX Runtime, made from verified bytes. Nothing else imports ONNX Runtime."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy.typing as npt
import onnxruntime  # pyright: ignore[reportMissingTypeStubs]

from levine_policy_node.core.observation import Tensors
from levine_policy_node.errors import BundleError, InferenceError
from levine_policy_node.runtime.onnx_domains import check_graph

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

    def agrees(self, other: TensorInfo) -> bool:
        """Whether some tensor is what both declare."""
        return (
            self.dtype == other.dtype
            and len(self.shape) == len(other.shape)
            and all(
                a == b or not isinstance(a, int) or not isinstance(b, int)
                for a, b in zip(self.shape, other.shape, strict=True)
            )
        )

    def __str__(self) -> str:
        """As messages show it."""
        return f"{self.dtype} of shape {list(self.shape)}"


class RunLimit:
    """Stops what runs under it, from another thread."""

    def __init__(self) -> None:
        self.options: Any = ort.RunOptions()

    @property
    def reached(self) -> bool:
        """Whether it was stopped."""
        return bool(self.options.terminate)

    def stop(self) -> None:
        """Stop the run, between two of its nodes, and all that would follow."""
        self.options.terminate = True


class OnnxSession:
    """One graph, ready to run.

    Attributes:
        file: For messages.
        inputs: What it takes, by name.
        outputs: What it returns, by name.

    Args:
        content: Its bytes.
        file: For messages.
        weights: Files it refers to, by the names it has for them.
        options: How it is run.

    Raises:
        BundleError: If ONNX Runtime cannot load it as it is asked to.
    """

    def __init__(
        self, content: bytes, file: str, weights: Mapping[str, bytes], options: OnnxOptions
    ) -> None:
        self.file = file
        self._session = _session(content, file, weights, options)
        self.inputs = _infos(self._session.get_inputs())
        self.outputs = _infos(self._session.get_outputs())
        self._names = list(self.outputs)

    def run(self, tensors: Tensors, limit: RunLimit) -> dict[str, npt.NDArray[Any]]:
        """Run once, on those of `tensors` that the graph takes.

        Raises:
            InferenceError: If it fails, or was stopped.
        """
        feed = {name: tensors[name] for name in self.inputs}
        values: list[npt.NDArray[Any]]
        try:
            values = self._session.run(self._names, feed, limit.options)
        except _ORT_ERRORS as error:
            raise InferenceError(f"{self.file}: {' '.join(str(error).split())[:300]}") from error
        return dict(zip(self._names, values, strict=True))


def _infos(values: Any) -> dict[str, TensorInfo]:
    return {
        str(v.name): TensorInfo(_DTYPES.get(str(v.type), str(v.type)), tuple(v.shape))
        for v in values
    }


def _session(content: bytes, file: str, weights: Mapping[str, bytes], options: OnnxOptions) -> Any:
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
    check_graph(content, file, weights)
    _add_weights(settings, file, weights)
    session = _made(content, file, settings, provider)
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
