# SPDX-License-Identifier: Apache-2.0
"""Observations and actions with LeRobot's names, which `policy_package` shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from levine_policy_node.runtime.importers.export import Export
from levine_policy_node.runtime.importers.fields import Fields, refused
from levine_policy_node.runtime.importers.rsl_rl import check_width
from levine_policy_node.runtime.importers.safetensors_stats import (
    Table,
    apply_to_image,
    is_identity,
    normalization,
    read_stats,
)
from levine_policy_node.runtime.importers.tensors import (
    ACTIONS,
    STATES,
    action_output,
    camera_of,
    image,
    policy_kind,
    rows_and_columns,
    state,
    targets,
    unknown_input,
    width,
)

# LeRobot and physicalai add this to a standard deviation that they divide by, and not when they
# multiply (`processor/normalize_processor.py`, `preprocessors/stats_normalizer.py`).
EPS = 1e-8


class Parts:
    """Builds the parts of a document from what graphs declare.

    Args:
        export: Where the graphs are.
        graphs: Files by role.
        source: The document that describes them, for messages.
        cameras: Camera by image feature, where features were renamed.
    """

    def __init__(
        self,
        export: Export,
        graphs: dict[str, str],
        source: str,
        cameras: dict[str, str] | None = None,
    ) -> None:
        self._export = export
        self._graphs = {role: export.graph(name) for role, name in graphs.items()}
        self._file = export.path(graphs["step"]) if "step" in graphs else source
        self._source = source
        self._cameras = cameras or {}
        self._decoder: dict[str, Any] = {}
        self._observations: dict[str, dict[str, Any]] = {}
        self._action: dict[str, Any] = {}
        self._stats: dict[str, dict[str, list[float]]] = {}
        self._rows = self._columns = 1

    def direct(self, rows: int | None) -> None:
        """The output is the chunk; `rows` where the export says how many."""
        outputs = self._graphs["step"].outputs
        output = action_output(self._file, outputs)
        info = outputs[output]
        self._rows, self._columns = rows_and_columns(self._file, f"output {output}", info, rows)
        self._decoder = {"type": "direct", "output": output}

    def flow(self, steps: int, rows: int | None, columns: int) -> None:
        """`step` predicts a velocity, from what `encode` made of the observation."""
        inputs, outputs = self._graphs["step"].inputs, self._graphs["step"].outputs
        found = [name for name in ("v_t", "velocity") if name in outputs] or list(outputs)
        if not {"x_t", "timestep"} <= set(inputs) or len(found) != 1:
            raise refused(self._file, "inputs", "expected x_t and timestep, and one velocity")
        self._rows, self._columns = rows_and_columns(self._file, "input x_t", inputs["x_t"], rows)
        check_width(self._source, "model.runner.action_dim", columns, self._columns, "x_t")
        shape = [self._rows, self._columns]
        self._decoder = {"type": "flow", "steps": steps, "velocity": found[0], "shape": shape}

    def vectors(self, observed: Sequence[str], acted: Sequence[str]) -> None:
        """Describe every input, joints by these names where the export has them."""
        fed = {"x_t", "timestep"} if self._decoder["type"] == "flow" else set[str]()
        if "encode" in self._graphs:
            fed |= set(self._graphs["encode"].outputs)
        for role, graph in self._graphs.items():
            for name, info in graph.inputs.items():
                kind = policy_kind(name)
                if name in self._observations or (role == "step" and name in fed):
                    continue
                if name in STATES:
                    count = width(self._file, f"input {name}", info)
                    if observed:
                        check_width(self._source, "state", len(observed), count, name)
                    self._observations[name] = state(observed, count)
                elif kind is not None:
                    self._observations[name] = {"kind": kind}
                elif camera_of(name) is not None:
                    camera = self._cameras.get(name, camera_of(name))
                    self._observations[name] = image(self._file, name, info, camera)
                else:
                    raise unknown_input(self._file, name, info)
        columns = len(acted) if acted and self._decoder["type"] == "flow" else self._columns
        if acted:
            check_width(self._source, "action", len(acted), columns, "the action")
        self._action = {"parts": [targets(acted, columns)]}

    def relative(self) -> None:
        """Actions are added to the state of the observation."""
        self._action["parts"][0]["mode"] = "relative"

    def normalize(
        self,
        file: str,
        features: Sequence[str],
        mode: str,
        at: tuple[Fields, str],
        inverse: bool,  # noqa: FBT001
    ) -> None:
        """Apply statistics to features, or to all that the file has where none are named.

        Args:
            file: The safetensors file.
            features: Names of observations, or of the action if `inverse`.
            mode: As LeRobot and physicalai name it.
            at: Mapping and field that asked for it, for messages.
            inverse: Whether this is for the action.
        """
        if is_identity(mode):
            return
        table = read_stats(self._export.content(file), self._export.path(file))
        known = ACTIONS if inverse else tuple(self._observations)
        chosen = list(features) or [name for name in table if _same(name, known) is not None]
        for feature in chosen:
            self.normalize_one(table, feature, mode, at, inverse=inverse, eps=EPS)

    def normalize_one(
        self,
        table: Table,
        feature: str,
        mode: str,
        at: tuple[Fields, str],
        *,
        inverse: bool,
        eps: float,
    ) -> None:
        """Apply statistics to one feature."""
        fields, key = at
        known = ACTIONS if inverse else tuple(self._observations)
        name = _same(feature, known)
        if name is None:
            raise fields.refusal(key, f"feature '{feature[:60]}' is not of the graph")
        kind, values = normalization(table, feature, mode, at, 0.0 if inverse else eps)
        target = self._action if inverse else self._observations[name]
        if "normalize" in target or "mean" in target.get("image", {}):
            raise fields.refusal(key, f"feature '{feature[:60]}' is normalised twice")
        if "image" in target:
            apply_to_image(target, kind, values, at)
            return
        if target.get("kind", "").startswith("policy/"):
            raise fields.refusal(key, f"feature '{feature[:60]}' cannot be normalised")
        target["normalize"] = kind
        self._stats["action" if inverse else name] = values

    def document(self, execute: int | None) -> dict[str, Any]:
        """What was built, with a chunk of which `execute` rows are played."""
        # A document begins an action with how it was normalised.
        action = {k: self._action[k] for k in ("normalize", "parts") if k in self._action}
        return {
            "observations": self._observations,
            "decoder": self._decoder,
            "action": action,
            "chunk": {"size": self._rows, "execute": min(execute or self._rows, self._rows)},
            **({"stats": self._stats} if self._stats else {}),
        }


def _same(feature: str, names: Sequence[str]) -> str | None:
    """The tensor that a feature is: `observation.state` may be called `state`."""
    if feature in names:
        return feature
    for group in (STATES, ACTIONS):
        if feature in group:
            return next((name for name in names if name in group), None)
    camera = camera_of(feature)
    return next((n for n in names if camera is not None and camera_of(n) == camera), None)
