# SPDX-License-Identifier: Apache-2.0
"""JSON Schemas of the files that users write, for editors that complete and check them."""

from __future__ import annotations

from typing import Any, Literal, get_args

from levine_policy_node.robot import Robot
from levine_policy_node.runtime.bundle_schema import BundleDocument

SchemaOf = Literal["policy", "robot"]
SCHEMAS: tuple[SchemaOf, ...] = get_args(SchemaOf)


def json_schema(of: SchemaOf) -> dict[str, Any]:
    """The schema of a `policy.yaml` or of a robot file, as this version reads them."""
    model = BundleDocument if of == "policy" else Robot
    schema = model.model_json_schema()
    # What the reader adds to a robot file is not written in it.
    for added in ("path", "sha256") if of == "robot" else ():
        schema.get("properties", {}).pop(added, None)
        if added in schema.get("required", []):
            schema["required"].remove(added)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
