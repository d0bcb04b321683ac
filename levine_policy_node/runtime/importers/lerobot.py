# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of LeRobot beside an ONNX export of the same policy.

`config.json` says the chunk, `policy_preprocessor.json` and `policy_postprocessor.json` what is
done around the network; their statistics lie in safetensors files. An export that is run without
them moves wrongly and says nothing, so both are needed.
"""

from __future__ import annotations

from typing import Any

from levine_policy_node.runtime.importers.draft import RATE, ROBOT, Draft, policy_name
from levine_policy_node.runtime.importers.export import Export
from levine_policy_node.runtime.importers.fields import Fields, refused
from levine_policy_node.runtime.importers.lerobot_parts import EPS, Parts
from levine_policy_node.runtime.importers.safetensors_stats import is_identity, read_stats

CONFIG = "config.json"
PREPROCESSOR = "policy_preprocessor.json"
POSTPROCESSOR = "policy_postprocessor.json"
# They move tensors between devices and add a batch axis.
_PLAIN = {"to_batch_processor", "device_processor"}
_RENAME = "rename_observations_processor"
_NORMALIZE = "normalizer_processor"
_UNNORMALIZE = "unnormalizer_processor"
_RELATIVE = "relative_actions_processor"
_ABSOLUTE = "absolute_actions_processor"


def matches(export: Export) -> bool:
    """Whether the folder has a configuration of LeRobot or its processors."""
    if export.has(PREPROCESSOR, POSTPROCESSOR) is not None:
        return True
    return export.has(CONFIG) is not None and {"input_features", "output_features"} <= set(
        export.json(CONFIG).keys
    )


def read(export: Export) -> Draft:
    """A draft that lacks rate, units, joint names and robot, which LeRobot does not write here.

    Raises:
        BundleError: If a file is missing, or a processor cannot be represented.
    """
    for name in (CONFIG, PREPROCESSOR, POSTPROCESSOR):
        if export.has(name) is None:
            raise refused(
                export.path(name),
                "",
                "is missing",
                "Copy it from the checkpoint: without it the numbers mean something else",
            )
    config = export.json(CONFIG)
    if config.whole("n_obs_steps", 1) != 1:
        raise config.refusal("n_obs_steps", "a history of observations cannot be represented")
    graph = export.only_graph("Export the policy to ONNX beside its config.json")
    before = _steps(export, PREPROCESSOR)
    parts = Parts(export, {"step": graph}, config.file, _cameras(before))
    parts.direct(config.whole("chunk_size") if "chunk_size" in config else None)
    parts.vectors((), config.names("action_feature_names"))
    relative = _apply(export, before, parts, _NORMALIZE, {_RENAME, _RELATIVE})
    absolute = _apply(export, _steps(export, POSTPROCESSOR), parts, _UNNORMALIZE, {_ABSOLUTE})
    if relative != absolute:
        raise config.refusal(
            "", "its processors make actions relative and absolute again in one place only"
        )
    if relative:
        parts.relative()
    execute = config.whole("n_action_steps") if "n_action_steps" in config else None
    document = {
        "name": policy_name(config.text("type", "imported")),
        "robot": ROBOT,
        "rate": RATE,
        "graphs": {"step": graph},
        **parts.document(execute),
    }
    why = f"{CONFIG} and {PREPROCESSOR} lie beside {graph}"
    return export.draft("lerobot", why, document, CONFIG)


def _steps(export: Export, name: str) -> list[Fields]:
    return export.json(name).mappings("steps")


def _cameras(steps: list[Fields]) -> dict[str, str]:
    """The camera of every image that was renamed."""
    cameras: dict[str, str] = {}
    for step in steps:
        if step.text("registry_name", "") == _RENAME:
            names = step.mapping("config").mapping("rename_map")
            for key in names.keys:
                if not key.startswith("observation.images."):
                    raise names.refusal(key, "only images may be renamed")
                cameras[names.text(key)] = key.rsplit(".", 1)[-1]
    return cameras


def _apply(
    export: Export, steps: list[Fields], parts: Parts, normalizer: str, others: set[str]
) -> bool:
    """Hand normalisation over; whether actions are relative."""
    relative = False
    for step in steps:
        name = step.text("registry_name", "")
        config = step.mapping("config")
        if name == normalizer:
            _normalize(export, step, config, parts)
        elif name in {_RELATIVE, _ABSOLUTE} & others:
            relative = config.raw("enabled") is True
            if relative and config.names("exclude_joints"):
                raise config.refusal(
                    "exclude_joints",
                    "one relative part and one absolute part must be named by hand",
                    "Write a policy.yaml",
                )
        elif name not in _PLAIN | others:
            found = name or step.text("class", "a step without a name")
            known = ", ".join(sorted({normalizer} | _PLAIN | others))
            raise step.refusal(
                "registry_name",
                f"'{found[:60]}' cannot be represented; supported: {known}",
                "Write a policy.yaml",
            )
    return relative


def _normalize(export: Export, step: Fields, config: Fields, parts: Parts) -> None:
    """Apply the statistics of one step to the features it lists.

    A feature without statistics is left as it is there, which is refused here: a checkpoint
    without them was saved wrongly.
    """
    inverse = step.text("registry_name") == _UNNORMALIZE
    if "normalize_observation_keys" in config:
        raise config.refusal("normalize_observation_keys", "cannot be represented")
    features, modes = config.mapping("features"), config.mapping("norm_map")
    wanted: list[tuple[str, str]] = []
    for feature in features.keys:
        kind = features.mapping(feature).text("type")
        mode = modes.text(kind, "IDENTITY")
        if (kind == "ACTION") == inverse and not is_identity(mode):
            wanted.append((feature, mode))
    if not wanted:
        return
    name = step.text("state_file")
    if name not in export.names:
        raise step.refusal("state_file", f"'{name[:80]}' is not in the folder")
    table: Any = read_stats(export.content(name), export.path(name))
    eps = config.number("eps") if "eps" in config else EPS
    for feature, mode in wanted:
        parts.normalize_one(table, feature, mode, (features, feature), inverse=inverse, eps=eps)
