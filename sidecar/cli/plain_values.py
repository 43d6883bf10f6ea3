"""Conversion of the values of options and arguments without pydantic.

Typer converts every value with a pydantic adapter, and importing pydantic takes as long as the rest of a short command.
Valid texts, numbers, paths and choices need no adapter. Typer handles all other values and reports what is wrong with
them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

from typer._coercion import RuntimeParam, build_runtime_param  # Typer has no public hook for this

if TYPE_CHECKING:
    from typer._click.core import Context, Parameter


@dataclass(frozen=True)
class PlainValue(RuntimeParam):
    """Conversion of a value to a simple type."""

    def _coerce_value(self, value: Any, param: Any, ctx: Context) -> Any:
        try:
            annotation: Any = self.annotation
            if get_origin(annotation) is list:
                return [self._convert(item, get_args(annotation)[0]) for item in value]
            return self._convert(value, annotation)
        except (TypeError, ValueError):
            return build_runtime_param(param.type_descriptor)._coerce_value(value, param=param, ctx=ctx)

    def _convert(self, value: Any, annotation: Any) -> Any:
        if not isinstance(annotation, type):
            raise TypeError("not a simple type")
        if isinstance(value, annotation) and not isinstance(value, int | float):
            return value
        if not isinstance(value, str | int | float) or not issubclass(annotation, str | int | float | Path | Enum):
            raise TypeError("not a simple value")
        converted: Any = annotation(value)  # type: ignore[arg-type]  # a Path of a number raises TypeError
        if isinstance(converted, int | float):
            self._check_range(converted)
        return converted

    def _check_range(self, number: float) -> None:
        minimum, maximum = self.parameter_info.min, self.parameter_info.max
        if (minimum is not None and number < minimum) or (maximum is not None and number > maximum):
            raise ValueError("out of range")


def use_plain_values(parameters: list[Parameter]) -> list[Parameter]:
    """Convert the values of parameters without pydantic, where possible."""
    for parameter in parameters:
        descriptor = getattr(parameter, "type_descriptor", None)
        if descriptor is not None:
            setattr(parameter, "_runtime_param", PlainValue(descriptor.parameter_info, descriptor.annotation))  # noqa: B010
    return parameters
