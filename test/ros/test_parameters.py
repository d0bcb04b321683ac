# SPDX-License-Identifier: Apache-2.0
"""A dataclass is the one declaration of a node's parameters."""

from dataclasses import dataclass

import pytest
from rclpy.node import Node
from rclpy.parameter import Parameter

from levine_policy_node.errors import ConfigError
from levine_policy_node.ros.parameters import load_parameters, parameter


@dataclass(frozen=True)
class Knobs:
    rate_hz: float = parameter("Rate [Hz]", low=1.0, high=100.0)
    names: tuple[str, ...] = parameter("Names", default=())
    enabled: bool = parameter("On", default=True)
    seed: int = parameter("Seed", default=3, dynamic=True)

    def __post_init__(self):
        if not self.enabled and self.names:
            raise ValueError("names: give none when enabled is false")


def load(**values):
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    node = Node("knobs", parameter_overrides=overrides)
    try:
        return load_parameters(node, Knobs), node
    finally:
        node.destroy_node()


@pytest.fixture(autouse=True)
def _context(ros):
    return ros


def test_values_and_defaults():
    knobs, _ = load(rate_hz=5.0, names=["a", "b"])
    assert knobs == Knobs(5.0, ("a", "b"), True, 3)


def test_an_empty_list_is_a_value():
    assert load(rate_hz=5.0)[0].names == ()


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({}, "rate_hz"),
        ({"rate_hz": 500.0}, "rate_hz"),
        ({"rate_hz": 5}, "rate_hz"),
        ({"rate_hz": 5.0, "seed": "one"}, "seed"),
        ({"rate_hz": 5.0, "names": ["a"], "enabled": False}, "names"),
    ],
    ids=["missing", "out of range", "integer for a float", "wrong type", "dataclass refuses"],
)
def test_a_bad_value_is_one_line_that_names_it(values, named):
    with pytest.raises(ConfigError) as caught:
        load(**values)
    assert named in str(caught.value)
    assert "knobs" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_dynamic_parameters_change():
    node = Node("knobs", parameter_overrides=[Parameter("rate_hz", value=5.0)])
    load_parameters(node, Knobs)
    assert node.set_parameters([Parameter("seed", value=4)])[0].successful
    assert not node.set_parameters([Parameter("rate_hz", value=6.0)])[0].successful
    node.destroy_node()
