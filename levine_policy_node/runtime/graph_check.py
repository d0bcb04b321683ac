# SPDX-License-Identifier: Apache-2.0
"""Whether the graphs of a bundle take what its document gives them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from levine_policy_node.errors import BundleError
from levine_policy_node.runtime.bundle_schema import BundleDocument
from levine_policy_node.runtime.decoder_schema import DiffusionDecoder, FlowDecoder, OneDecoder
from levine_policy_node.runtime.graph_schema import ENCODE, STEP, Role
from levine_policy_node.runtime.onnx_graphs import OnnxGraphs
from levine_policy_node.runtime.planner_schema import CemDecoder, MppiDecoder
from levine_policy_node.runtime.tensor_info import TensorInfo
from levine_policy_node.runtime.token_cache import cache_entries
from levine_policy_node.runtime.token_schema import AutoregressiveDecoder


def check_inputs(
    document: BundleDocument,
    graphs: OnnxGraphs,
    observed: Mapping[str, tuple[tuple[int, ...], str]],
    made: Iterable[str],
) -> None:
    """Check that every graph input is fed once, and that every observation goes somewhere.

    Args:
        document: The bundle's document.
        graphs: Its graphs.
        observed: Shape and dtype of what is made of observations, by graph input.
        made: Other graph inputs that the runtime makes.

    Raises:
        BundleError: With the first input or observation that does not fit.
    """
    given = {*observed, *made}
    taken: set[str] = set()
    prompts = {name for decoder in document.decoders for name in _prompt(decoder)}
    for role in graphs.roles:
        more = _looped(document, graphs, role)
        twice = sorted((given & more) - prompts)
        if twice:
            raise BundleError(
                graphs.file(role), f"input {twice[0]}", "is fed by policy.yaml and by the decoder"
            )
        for name, info in graphs.inputs(role).items():
            if name not in given | more:
                raise BundleError(
                    graphs.file(role),
                    f"input {name}",
                    f"nothing feeds it; policy.yaml gives {_list(given | more)}",
                    "Name it under observations (or in a field 'tensor')",
                )
            if name in observed and name not in prompts:
                _check_observation(graphs.file(role), name, info, *observed[name])
        taken |= set(graphs.inputs(role))
    unused = sorted(given - taken - prompts)
    if unused:
        inputs = {name for role in graphs.roles for name in graphs.inputs(role)}
        raise BundleError(
            graphs.file(STEP),
            "observations",
            f"no graph has the input {unused[0]}; they have {_list(inputs)}",
            "Remove it, or name its input in the field 'tensor'",
        )


def named_output(
    file: str,
    outputs: Mapping[str, TensorInfo],
    field: str,
    named: str | None,
    usual: tuple[str, ...] = (),
) -> str:
    """The output that is named; else one with a usual name, or the only one.

    Raises:
        BundleError: If there is none.
    """
    if named is None and len(outputs) == 1:
        return next(iter(outputs))
    for name in usual if named is None else (named,):
        if name in outputs:
            return name
    problem = "is needed" if named is None else f"'{named}' is not an output of the graph"
    raise BundleError(file, f"decoder.{field}", problem, f"Outputs: {', '.join(outputs)}")


def named_input(file: str, inputs: Mapping[str, TensorInfo], field: str, name: str) -> TensorInfo:
    """What the graph declares of an input.

    Raises:
        BundleError: If it has no such input.
    """
    if name not in inputs:
        raise BundleError(
            file,
            f"decoder.{field}",
            f"'{name}' is not an input of the graph",
            f"Inputs: {', '.join(inputs)}",
        )
    return inputs[name]


def _looped(document: BundleDocument, graphs: OnnxGraphs, role: Role) -> set[str]:
    """Inputs of a graph that decoders and other graphs feed."""
    names: set[str] = set()
    for decoder in document.decoders:
        names |= _fed(decoder, graphs, role)
    if role != ENCODE and ENCODE in graphs.roles:
        names |= set(graphs.outputs(ENCODE))
    return names


def _fed(decoder: OneDecoder, graphs: OnnxGraphs, role: Role) -> set[str]:
    """Inputs of a graph that the decoder feeds."""
    if isinstance(decoder, AutoregressiveDecoder) and role in {ENCODE, STEP}:
        names = {decoder.mask, decoder.positions}
        if decoder.prompt or role == STEP:
            names.add(decoder.ids)
        if role == STEP:
            names |= {entry.past for entry in cache_entries(graphs)}
        return names
    if role != STEP:
        return set()
    if isinstance(decoder, FlowDecoder):
        return {decoder.x, decoder.time}
    if isinstance(decoder, DiffusionDecoder):
        return {decoder.sample, decoder.timestep}
    return {decoder.action} if isinstance(decoder, CemDecoder | MppiDecoder) else set()


def _prompt(decoder: OneDecoder) -> set[str]:
    """Inputs that an observation begins and the decoder goes on with."""
    if not isinstance(decoder, AutoregressiveDecoder):
        return set()
    return {decoder.mask} if decoder.prompt else {decoder.ids, decoder.mask}


def _check_observation(
    file: str, name: str, info: TensorInfo, shape: tuple[int, ...], dtype: str
) -> None:
    if info.dtype != dtype or not info.fits(shape):
        raise BundleError(
            file,
            f"input {name}",
            f"is {info}, but the observation gives {dtype} of shape {list(shape)}",
            "Correct the observation in policy.yaml or export the graph again",
        )


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
