"""YAML with line numbers: the values of `yaml.safe_load`, and the line of each key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hub.errors import BadRecipe

__all__ = ["Document", "KeyPath", "parse_scalar", "read_yaml"]

MAX_BYTES = 256_000
MAX_NODES = 20_000  # with expanded aliases, which can grow exponentially

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """Plain values, and the line (from 1) of every key path in them."""

    value: Any
    lines: Mapping[KeyPath, int] = field(default_factory=dict)


def read_yaml(path: Path) -> Document:
    """Read one YAML document of plain values.

    Raises:
        BadRecipe: it is not UTF-8 or YAML, has a key twice, or is too large; the message has the line.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BadRecipe(f"{path}: cannot be read: {error.strerror}.") from None
    if len(raw) > MAX_BYTES:
        raise BadRecipe(f"{path}: {len(raw):,} bytes is too large for a recipe (at most {MAX_BYTES:,}).")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise BadRecipe(f"{path}:{line}: is not UTF-8 text.") from None
    try:
        return _Builder(path).build(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise BadRecipe(f"{path}:{line}: is not valid YAML: {error.problem or error.context}.") from None
    except yaml.YAMLError as error:
        raise BadRecipe(f"{path}: is not valid YAML: {error}.") from None
    except RecursionError:
        raise BadRecipe(f"{path}: is nested too deeply.") from None


def parse_scalar(text: str) -> Any:
    """Parse a value from the command line as YAML: `2`, `true`, `[a, b]`, else the text itself.

    Raises:
        ValueError: the text is not valid YAML.
    """
    try:
        return _Builder(Path()).build(text).value
    except (yaml.YAMLError, RecursionError, BadRecipe) as error:
        raise ValueError(f"{text!r} is not a YAML value: quote it") from error


class _Builder:
    """Builds values from the node tree and records the line of each key."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[KeyPath, int] = {}
        self.count = 0
        self.scalars = yaml.constructor.SafeConstructor()

    def build(self, text: str) -> Document:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        return Document(None if node is None else self.value(node, ()), self.lines)

    def value(self, node: yaml.Node, at: KeyPath) -> Any:
        self.count += 1
        if self.count > MAX_NODES:
            raise BadRecipe(f"{self.path}:{node.start_mark.line + 1}: has more than {MAX_NODES:,} values.")
        self.lines.setdefault(at, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            self.refuse_tag(node, "map")
            return self.mapping(node, at)
        if isinstance(node, yaml.SequenceNode):
            self.refuse_tag(node, "seq")
            return [self.value(item, (*at, index)) for index, item in enumerate(node.value)]
        return self.scalar(node)

    def scalar(self, node: yaml.Node) -> Any:
        try:
            return self.scalars.construct_object(node)
        except yaml.YAMLError:
            raise
        except Exception as error:  # PyYAML lets through what int(), date() and so on raise
            raise BadRecipe(
                f"{self.path}:{node.start_mark.line + 1}: {node.value[:60]!r} is not a valid "
                f"{node.tag.rpartition(':')[2]}: quote it if it is a text."
            ) from error

    def refuse_tag(self, node: yaml.Node, plain: str) -> None:
        if node.tag != f"tag:yaml.org,2002:{plain}":
            line = node.start_mark.line + 1
            raise BadRecipe(f"{self.path}:{line}: is not valid YAML: the tag {node.tag} is not known here.")

    def mapping(self, node: yaml.MappingNode, at: KeyPath) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        first: dict[Any, int] = {}  # lines; 1, 1.0 and true are one key
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise BadRecipe(f"{self.path}:{line}: a key must be a plain word.")
            key = self.scalar(key_node)
            here = (*at, key if isinstance(key, int) and not isinstance(key, bool) else str(key))
            if key in result:
                raise BadRecipe(f"{self.path}:{line}: {key}: is set twice (first on line {first[key]}).")
            self.lines[here] = first[key] = line
            result[key] = self.value(value_node, here)
        return result
