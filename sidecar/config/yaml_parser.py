"""Strict YAML parser: one document, no duplicate keys, no tags, bounded for hostile input.

Scalars are those of YAML 1.2's core schema: `no` is a text, `12:30` is not a number, and a time stays text.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from sidecar.config.env_interpolation import UnresolvedValue
from sidecar.domain.errors import Mistake

MAX_CHARACTERS = 1_000_000
MAX_VALUES = 20_000
"""Values after all aliases are expanded."""
MAX_DEPTH = 20
_SURROGATE_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")


class _YamlError(Exception):
    def __init__(self, mistake: Mistake) -> None:
        self.mistake = mistake


class _YamlLoader(yaml.SafeLoader):
    """Composes nodes to a bounded depth, with the scalars of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, Any] = {}
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _YamlError(Mistake("", f"at most {MAX_DEPTH} levels", f"more, line {self.line + 1}"))
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


for _tag, _pattern, _first in [
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9]{0,17})", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:[0-9]{1,20}\.[0-9]{0,20}|\.[0-9]{1,20}|[0-9]{1,20}(?=[eE]))(?:[eE][-+]?[0-9]{1,3})?",
        list("-+.0123456789"),
    ),
]:
    _YamlLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), _first)


def parse(text: str, mistakes: list[Mistake]) -> Any:
    """Parse a YAML text to plain data: dicts, lists, str, int, float, bool, None.

    Mistakes are added to `mistakes`. Returns None if the text as a whole is not YAML.
    """
    if len(text) > MAX_CHARACTERS:
        mistakes.append(Mistake("", f"at most {MAX_CHARACTERS} characters", f"{len(text)}"))
        return None
    loader = None
    try:
        loader = _YamlLoader(text)
        node = loader.get_single_node()
        return None if node is None else _YamlConstructor(mistakes).build(node, "")
    except _YamlError as refused:
        mistakes.append(refused.mistake)
    except yaml.MarkedYAMLError as error:
        mistakes.append(Mistake("", "YAML", _describe_problem(error)))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        code = error.character if isinstance(error.character, int) else ord(error.character)
        mistakes.append(Mistake("", "YAML", f"the character U+{code:04X}, line {line}"))
    finally:
        if loader is not None:
            loader.dispose()
    return None


class _YamlConstructor:
    """Makes plain data of composed nodes."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        self._mistakes = mistakes
        self._values = 0
        self._open: set[int] = set()

    def build(self, node: yaml.Node, path: str) -> Any:
        self._values += 1
        if self._values > MAX_VALUES:
            raise _YamlError(Mistake("", f"at most {MAX_VALUES} values", "more, counting every use of an alias"))
        if id(node) in self._open:
            raise _YamlError(
                Mistake(path, "a value", f"an alias of the value that contains it, {_describe_place(node.start_mark)}")
            )
        self._open.add(id(node))
        built = self._built(node, path)
        self._open.discard(id(node))
        return built

    def _built(self, node: yaml.Node, path: str) -> Any:
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, kind, path)
        if isinstance(node, yaml.SequenceNode) and kind == "seq":
            return [self.build(item, f"{path}[{number}]") for number, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode) and kind == "map":
            return self._mapping(node, path)
        return self._refuse_tag(node, path)

    def _scalar(self, node: yaml.ScalarNode, kind: str, path: str) -> Any:
        text: str = node.value
        if kind == "str":
            return _join_surrogates(text)
        if kind == "null" and text.lower() in ("", "~", "null"):
            return None
        if kind == "bool" and text.lower() in ("true", "false"):
            return text.lower() == "true"
        try:
            if kind == "int":
                return int(text)
            if kind == "float":
                return float(text)
        except ValueError:
            pass
        return self._refuse_tag(node, path)

    def _mapping(self, node: yaml.MappingNode, path: str) -> dict[str, Any]:
        built: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or not key_node.tag.endswith((":str", ":int")):
                self._mistakes.append(
                    Mistake(path, "text as key", f"another kind of key, {_describe_place(key_node.start_mark)}")
                )
                continue
            key = _join_surrogates(key_node.value)
            if key in lines:
                actual = f"it twice, on lines {lines[key]} and {key_node.start_mark.line + 1}"
                self._mistakes.append(Mistake(_join_path(path, key), "the key once", actual))
                continue
            lines[key] = key_node.start_mark.line + 1
            built[key] = self.build(value_node, _join_path(path, key))
        return built

    def _refuse_tag(self, node: yaml.Node, path: str) -> UnresolvedValue:
        self._mistakes.append(
            Mistake(path, "a plain value", f"the tag {node.tag[:80]}, {_describe_place(node.start_mark)}")
        )
        return UnresolvedValue()


def _join_surrogates(text: str) -> str:
    r"""Join pairs of surrogates: JSON writes characters beyond U+FFFF as `\ud83d\ude00`, and JSON is YAML."""
    if text.isascii() or not _SURROGATE_PAIR.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def _join_path(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _describe_place(mark: yaml.Mark) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"


def _describe_problem(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    problem = ", ".join(part.removeprefix("found ") for part in (error.context, error.problem) if part)
    return f"{problem or 'something else'}, {_describe_place(mark)}" if mark else problem
