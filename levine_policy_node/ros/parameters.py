# SPDX-License-Identifier: Apache-2.0
"""A frozen dataclass as the single declaration of a node's parameters.

Each field becomes a ROS parameter of the same name. `parameter(doc, ...)` gives the description
and the range; a field without default must be set by the parameter file, or the node stops.
"""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar, get_type_hints

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import (
    InvalidParameterTypeException,
    InvalidParameterValueException,
    ParameterUninitializedException,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from levine_policy_node.errors import ConfigError

P = TypeVar("P")

_TYPES = {
    bool: Parameter.Type.BOOL,
    int: Parameter.Type.INTEGER,
    float: Parameter.Type.DOUBLE,
    str: Parameter.Type.STRING,
    tuple[int, ...]: Parameter.Type.INTEGER_ARRAY,
    tuple[str, ...]: Parameter.Type.STRING_ARRAY,
    tuple[float, ...]: Parameter.Type.DOUBLE_ARRAY,
}


def parameter(
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    default: Any = dataclasses.MISSING,
    dynamic: bool = False,
) -> Any:
    """Describe one parameter: its meaning with unit, its range, whether it may change."""
    metadata = {"doc": doc, "low": low, "high": high, "dynamic": dynamic}
    return dataclasses.field(default=default, metadata=metadata)


def load_parameters(node: Node, cls: type[P]) -> P:
    """Declare every field of `cls` on `node` and return the values as an instance.

    Raises:
        ConfigError: If a value is missing, of the wrong type, out of range, or refused by the
            dataclass itself (`__post_init__` raising ValueError).
    """
    hints = get_type_hints(cls)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        values[field.name] = _declare(node, field, hints[field.name])
    try:
        return cls(**values)
    except ValueError as error:
        raise ConfigError(f"parameters of {node.get_name()}", "", str(error)) from error


def _declare(node: Node, field: dataclasses.Field[Any], hint: Any) -> Any:
    source = f"parameters of {node.get_name()}"
    kind = _TYPES[hint]
    descriptor = _descriptor(field, kind)
    try:
        if field.default is dataclasses.MISSING:
            node.declare_parameter(field.name, kind, descriptor)
        else:
            default = list(field.default) if isinstance(field.default, tuple) else field.default
            if default == []:
                node.declare_parameter(field.name, kind, descriptor)
                return tuple(
                    node.get_parameter_or(field.name, Parameter(field.name, kind, [])).value
                )
            node.declare_parameter(field.name, default, descriptor)
        # declare_parameter returns an unset value silently; get_parameter raises.
        value = node.get_parameter(field.name).value
    except ParameterUninitializedException as error:
        raise ConfigError(
            source, field.name, "is not set", "Set it in the parameter file"
        ) from error
    except (InvalidParameterTypeException, InvalidParameterValueException) as error:
        raise ConfigError(source, field.name, " ".join(str(error).split())) from error
    return tuple(value) if isinstance(value, (list, tuple)) or kind in _ARRAYS else value


_ARRAYS = {
    Parameter.Type.INTEGER_ARRAY,
    Parameter.Type.STRING_ARRAY,
    Parameter.Type.DOUBLE_ARRAY,
}


def _descriptor(field: dataclasses.Field[Any], kind: Parameter.Type) -> ParameterDescriptor:
    low, high = field.metadata.get("low"), field.metadata.get("high")
    descriptor = ParameterDescriptor(
        description=field.metadata.get("doc", ""),
        read_only=not field.metadata.get("dynamic", False),
    )
    if low is None and high is None:
        return descriptor
    if kind is Parameter.Type.INTEGER:
        descriptor.integer_range = [
            IntegerRange(
                from_value=int(low if low is not None else -(2**62)),
                to_value=int(high if high is not None else 2**62),
            )
        ]
    else:
        descriptor.floating_point_range = [
            FloatingPointRange(
                from_value=float(low if low is not None else -1e308),
                to_value=float(high if high is not None else 1e308),
            )
        ]
    return descriptor
