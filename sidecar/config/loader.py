"""Loader of the configuration file: reads it, interpolates the environment, and reports every mistake at once.

bytes ─▶ yaml_parser ─▶ env_interpolation ─▶ struct_reader ─▶ validation ─▶ Config
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from msgspec import inspect

from sidecar.config import validation
from sidecar.config.env_interpolation import interpolate
from sidecar.config.json_schema import format_value, json_schema
from sidecar.config.schema import Config
from sidecar.config.struct_reader import WRONG, StructReader
from sidecar.config.value_types import StrictStruct
from sidecar.config.yaml_parser import MAX_CHARACTERS, parse
from sidecar.domain.errors import ConfigError, Mistake
from sidecar.domain.secrets import mask_secrets

__all__ = ["describe", "json_schema", "load", "loads"]


def load(path: str | os.PathLike[str], environ: Mapping[str, str] = os.environ) -> Config:
    """Load the configuration from a file. Raises ConfigError with every mistake in it."""
    source = os.fspath(path)
    try:
        with Path(path).open("rb") as file:
            content = file.read(4 * MAX_CHARACTERS + 1)
    except OSError as error:
        raise ConfigError(
            [Mistake("", "a file that can be read", error.strerror or type(error).__name__)], source
        ) from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        actual = f"the byte 0x{content[error.start]:02X} on line {line}"
        raise ConfigError([Mistake("", "UTF-8 text", actual)], source) from None
    return loads(text, environ, source)


def loads(text: str, environ: Mapping[str, str] = os.environ, source: str = "") -> Config:
    """Load the configuration from a text. Raises ConfigError with every mistake, with `source` as the file's name."""
    mistakes: list[Mistake] = []
    data = parse(text, mistakes)
    if not isinstance(data, dict):
        if not mistakes:
            kind = "nothing" if data is None else "a list" if isinstance(data, list) else "a single value"
            mistakes.append(Mistake("", "a mapping with at least `service` and `sources`", kind))
        raise ConfigError(mistakes, source)
    reader = StructReader(mistakes)
    config = reader.value(_type(), interpolate(data, environ, mistakes), "")
    mistakes += validation.check(reader.read)
    if mistakes or config is WRONG:
        raise ConfigError(mistakes, source)
    assert isinstance(config, Config)
    return config


def describe(config: Config) -> dict[str, Any]:
    """Return the configuration as plain data that may be shown.

    Secrets are masked, and keys without a value are left out.
    """
    shown = mask_secrets(_plain(config))
    assert isinstance(shown, dict)
    return shown


def _plain(value: Any) -> Any:
    if isinstance(value, StrictStruct):
        items = {name: getattr(value, name) for name in value.__struct_fields__}
        return {name: _plain(item) for name, item in items.items() if item is not None}
    return [_plain(item) for item in value] if isinstance(value, list) else format_value(value)


@cache
def _type() -> inspect.Type:
    return inspect.type_info(Config)
