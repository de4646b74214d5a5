"""Reading a YAML file into plain values, with the line of every key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import yaml

from sophia.nouns.errors import ConfigError

KeyPath = tuple[str | int, ...]
MAX_BYTES = 1_000_000


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """One source of settings. ``lines`` counts from 1."""

    origin: str
    values: dict[str, Any]
    lines: dict[KeyPath, int]


class _CoreLoader(yaml.SafeLoader):
    """YAML 1.2's core scalars: PyYAML's own (1.1) read ``18:00`` as 1080 and ``no`` as false."""


_CoreLoader.yaml_implicit_resolvers = {}
_CoreLoader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_CoreLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|false|False)$"), list("tTfF"))
_CoreLoader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9]\d*)$"), list("-+0123456789"))
_CoreLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d+\.\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+)$"),
    list("-+.0123456789"),
)


def _float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    # PyYAML's own constructor does not know exponents without a point (1e3), which the resolver above accepts.
    return float(loader.construct_scalar(node))


_CoreLoader.add_constructor("tag:yaml.org,2002:float", _float)


def read_document(path: Path, *, origin: str | None = None) -> Document:
    """Read a settings file. Raises ``ConfigError`` naming file, line and column of what is wrong."""
    origin = origin or str(path)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"{origin}: cannot be read: {error.strerror or error}", mend="name a file that exists and may be read"
        ) from error
    if len(raw) > MAX_BYTES:
        raise ConfigError(
            f"{origin}: larger than {MAX_BYTES:,} bytes", mend="a settings file is small; is it the right one?"
        )
    return parse_document(raw, origin)


def parse_document(raw: bytes | str, origin: str) -> Document:
    loader: _CoreLoader | None = None
    try:
        loader = _CoreLoader(raw)
        node = loader.get_single_node()
        if node is None:
            return Document(origin=origin, values={}, lines={})
        lines: dict[KeyPath, int] = {}
        _survey(node, (), lines, origin, set())
        values = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise ConfigError(f"{origin}{at}: not valid YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{origin}: not valid YAML: {error}") from error
    finally:
        if loader is not None:
            loader.dispose()
    if not isinstance(values, dict):
        raise ConfigError(f"{origin}: must be a mapping of settings, not a {type(values).__name__}")
    return Document(origin=origin, values=values, lines=lines)


def _survey(node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int], origin: str, open_nodes: set[int]) -> None:
    """Note the line of every key; refuse duplicates, keys that are not text, and values that contain themselves."""
    if id(node) in open_nodes:
        raise ConfigError(f"{origin}:{node.start_mark.line + 1}: {dotted(path)} contains itself")
    open_nodes.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                raise ConfigError(f"{origin}:{line}: keys must be plain text")
            at = (*path, key.value)
            if at in lines:
                raise ConfigError(
                    f"{origin}:{line}: {dotted(at)} is given twice (first on line {lines[at]})",
                    field=dotted(at),
                    mend="keep one of them",
                )
            if key.tag != "tag:yaml.org,2002:str":
                raise ConfigError(
                    f"{origin}:{line}: the key {dotted(at)} must be text", mend=f'write it as "{key.value}"'
                )
            lines[at] = line
            _survey(value, at, lines, origin, open_nodes)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*path, index)] = value.start_mark.line + 1
            _survey(value, (*path, index), lines, origin, open_nodes)
    open_nodes.discard(id(node))


def dotted(path: KeyPath) -> str:
    """``("pools", "inference", "windows", 0, "min")`` as ``pools.inference.windows[0].min``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "(the whole file)"
