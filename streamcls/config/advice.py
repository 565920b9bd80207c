"""What pydantic finds wrong with a value, in the words of whoever writes the file, and how to mend it."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any, Final

from streamcls.config.schema import NAME_PATTERN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

__all__ = ["advice", "close"]

_NEAR: Final = 0.6
"""Similarity, 0 to 1, from which one name is taken for a slip of another (difflib's ratio)."""
_EXPECTED: Final = {
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "text in quotes",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
}
_LISTS: Final = frozenset({"tuple_type", "list_type"})
_TABLES: Final = frozenset({"dict_type", "model_type", "model_attributes_type"})
_NUMBERS: Final = frozenset({"int_parsing", "float_parsing"})
_BOUNDS: Final = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
}
_UNITS: Final = {"_s": "seconds", "_mb": "megabytes", "_days": "days", "_dbfs": "dBFS, 0 at most", "_hours": "hours"}
_SECONDS: Final = {"": 1.0, "ms": 1e-3, "s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_QUANTITY: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z%]*?)(?:s|onds|utes|ours)?\s*")
_MILLI: Final = 1000
_PERCENT: Final = 100
_NAME_RULE: Final = "expected letters, digits and . _ : @ + - only, a letter or digit first, at most 128"


def close(name: str, known: list[str]) -> str:
    """Return ``did you mean "…"?`` for the nearest of the known names; empty where none is near."""
    lower = {one.lower(): one for one in reversed(known)}
    near = difflib.get_close_matches(name.lower(), list(lower), n=1, cutoff=_NEAR)
    return f'did you mean "{lower[near[0]]}"?' if near else ""


def advice(finding: ErrorDetails, path: str, value: Any) -> tuple[str, str]:
    """Return what is wrong, and a hint that may be empty; the value itself is not in them.

    Parameters
    ----------
    path
        Where it stands, as in a file, e.g. ``source.logins``.
    value
        What stands there; None where that is not known or not to be told.
    """
    kind, context = finding["type"], finding.get("ctx", {})
    key = path.rpartition(".")[2]
    if context.get("pattern") == NAME_PATTERN:
        return _NAME_RULE, _as_name(value)
    if kind in _BOUNDS:
        member, word = _BOUNDS[kind]
        return f"expected {word} {context[member]:g}", _in_bounds(key, value, context)
    if kind == "literal_error":
        choices = re.findall(r"'([^']+)'", str(context.get("expected", "")))
        return f"expected {context.get('expected', '')}", close(value, choices) if isinstance(value, str) else ""
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}", _of_another_type(kind, path, key, value)
    return _of_length(kind, context) or finding["msg"].removeprefix("Value error, ").removeprefix(
        "Assertion failed, "
    ), ""


def _of_length(kind: str, context: Mapping[str, Any]) -> str:
    if kind in {"too_short", "too_long"}:
        word, bound = ("at least", "min_length") if kind == "too_short" else ("at most", "max_length")
        return f"the list has {context.get('actual_length', 'other')} items, expected {word} {context[bound]}"
    if kind == "string_too_short":
        return f"expected at least {context['min_length']} character{'s' * (context['min_length'] != 1)}"
    return ""


def _of_another_type(kind: str, path: str, key: str, value: Any) -> str:
    if kind in _LISTS and isinstance(value, dict):
        return f"write [[{path}]], in double brackets: there may be several"
    if kind in _LISTS and isinstance(value, str):
        return f'put it in brackets: {key} = ["{value}"]' if len(value) < _PERCENT else "put it in brackets"
    if kind in _TABLES and isinstance(value, list):
        return f"write [{path}], in single brackets: there is one only"
    if kind in _NUMBERS and isinstance(value, str):
        return _number(key, value)
    if kind == "string_type" and isinstance(value, (int, float)) and not isinstance(value, bool):
        return f'write {key} = "{value}"'
    return ""


def _number(key: str, text: str) -> str:
    """Return a hint for a number that stands in a text, with or without a unit."""
    found, unit = _QUANTITY.fullmatch(text.lower()), _unit(key)
    if found is None:
        return unit
    number, suffix = float(found[1]), found[2]
    if suffix == "%":
        return f"write {key} = {number / _PERCENT:g}"
    if key.endswith("_s") and suffix in _SECONDS:
        return f"write {key} = {number * _SECONDS[suffix]:g}, without quotes: it is in seconds"
    return unit or f"write {key} = {number:g}, without quotes"


def _unit(key: str) -> str:
    unit = next((word for suffix, word in _UNITS.items() if key.endswith(suffix)), "")
    return f"it is in {unit}" if unit else ""


def _in_bounds(key: str, value: Any, context: Mapping[str, Any]) -> str:
    """Return a hint for a number out of bounds, which may be of another unit."""
    unit, most = _unit(key), context.get("le", context.get("lt"))
    if most is None or isinstance(value, bool) or not isinstance(value, (int, float)):
        return unit
    if most == 1 and value <= _PERCENT:
        return f"it is a probability, not a percentage; did you mean {value / _PERCENT:g}?"
    if key.endswith("_s") and value / _MILLI <= most:
        return f"{unit}; did you mean {value / _MILLI:g}?"
    return unit


def _as_name(value: Any) -> str:
    if not isinstance(value, str):
        return ""
    name = re.sub(r"[^A-Za-z0-9._:@+-]+", "-", value).lstrip("._:@+-").rstrip("-")[:128]
    return f'e.g. "{name}"' if name else ""
