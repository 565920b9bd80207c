"""Writing TOML: the values that recipes and bundles are made of."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["dump_toml"]

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def dump_toml(table: Mapping[str, Any]) -> str:
    """Write a table of strings, numbers, booleans, lists and tables as TOML. Values of None are left out."""
    lines: list[str] = []
    _table(table, (), lines)
    return "\n".join(lines).lstrip("\n") + "\n"


def _table(table: Mapping[str, Any], path: tuple[str, ...], lines: list[str]) -> None:
    for key, value in table.items():
        if value is not None and not isinstance(value, dict) and not _is_array_of_tables(value):
            lines.append(f"{_key(key)} = {_value(value)}")
    for key, value in table.items():
        where = (*path, key)
        if isinstance(value, dict):
            lines += ["", f"[{'.'.join(map(_key, where))}]"]
            _table(value, where, lines)
        elif _is_array_of_tables(value):
            for item in value:
                lines += ["", f"[[{'.'.join(map(_key, where))}]]"]
                flat = {k: v for k, v in item.items() if not isinstance(v, dict)}
                _table(flat, where, lines)
                lines += [f"{_key(k)} = {_inline(v)}" for k, v in item.items() if isinstance(v, dict) and v]


def _is_array_of_tables(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(item, dict) for item in value)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _string(key)


def _string(text: str) -> str:
    # JSON's escapes are TOML's, but for DEL, which TOML wants escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def _inline(table: Mapping[str, Any]) -> str:
    return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in table.items()) + " }"


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return _string(value)
        case int() | float():
            return repr(value)
        case dict():
            return _inline(value)
        case list() | tuple():
            return "[" + ", ".join(_value(item) for item in value) + "]"
        case _:
            raise TypeError(f"a {type(value).__name__} cannot be written as TOML: {value!r}")
