# SPDX-License-Identifier: Apache-2.0
"""The part of `policy.yaml`, or of a file, that has the statistics of the training data."""

from __future__ import annotations

from typing import Any

from levine_policy_node.strict_model import Strict


class FeatureStats(Strict):
    """Statistics of one feature from the training data; one value per column (and row).

    Attributes:
        eps: Added to `std`, or to the distance of the bounds, by the code of the training.
    """

    mean: Any = None
    std: Any = None
    min: Any = None
    max: Any = None
    q01: Any = None
    q99: Any = None
    eps: Any = None
