"""Turning whatever pydantic finds wrong into problems with a place and a hint."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel, Secret, SecretBytes, SecretStr

from streamcls.config.advice import advice, close
from streamcls.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

__all__ = ["did_you_mean", "problems_of"]

Location: TypeAlias = "Sequence[int | str]"

_LONGEST_SHOWN: Final = 80
_WORDS: Final = (
    ("Input should be", "expected"),
    ("a valid tuple", "a list"),
    ("a valid dictionary", "a table"),
    ("Tuple should have", "the list should have"),
    ("Dictionary should have", "the table should have"),
)
"""Pydantic's words, and those of a TOML file."""
_EITHER: Final = "expected "
_SOURCES: Final = ("source",)
_SILENT: Final = "no source is given, so nothing would be heard"
_NOTHING_TO_HEAR: Final = (
    'add one: [[source]] with a name and a type, e.g. "mic"; streamcls config --default prints an example'
)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a hint that names the nearest known name, or all of them where none is near."""
    names = sorted(set(known))
    near = close(name, names)
    if near:
        return near
    return f"known: {', '.join(names)}" if names else "none is known"


def problems_of(
    error: ValidationError, model: type[BaseModel], data: Any, prefix: str = "", also: Sequence[str] = ()
) -> list[Problem]:
    """Turn pydantic's findings into problems in the file's own notation, with a hint for each unknown key.

    Values of secret fields are not shown.

    Parameters
    ----------
    data
        What was validated.
    prefix
        Where it stands in the file.
    also
        Keys that may stand beside the model's own at its top level, for the hints.
    """
    problems: list[Problem] = []
    findings = error.errors(include_url=False, include_context=True)
    for finding in findings:
        if finding["type"] == "too_short" and any(_within(other["loc"], finding["loc"]) for other in findings):
            continue  # its entries are wrong, which is said
        location, what, hint = _explain(finding, model, data, also, prefix)
        where = f"{prefix}.{_notation(location, data)}".strip(".") or "file"
        last = problems[-1] if problems else None
        if last is not None and last.where == where and _EITHER in last.what and _EITHER in what:  # branches of a union
            problems[-1] = Problem(where, f"{last.what} or {what.partition(_EITHER)[2]}", last.hint or hint)
        else:
            problems.append(Problem(where, what, hint))
    return problems


def _explain(
    finding: ErrorDetails, model: type[BaseModel], data: Any, also: Sequence[str], prefix: str
) -> tuple[Location, str, str]:
    """Return where a finding is to be shown, what is wrong, and a hint."""
    location = finding["loc"]
    table = location[:-1]
    last = str(location[-1]) if location else ""
    known = [*_keys(_annotation(model, table)), *(also if not table else ())]
    if finding["type"] == "extra_forbidden":
        value = _value_at(data, location)
        what = f"unknown table [{last}]" if not table and _is_table(value) else f"unknown key {last!r}"
        return table, what, did_you_mean(last, known)
    if finding["type"] == "missing":
        there = _value_at(data, table)
        unknown = [str(key) for key in there if key not in known] if isinstance(there, dict) else []
        near = difflib.get_close_matches(last, unknown, n=1, cutoff=0.6)
        hint = f'is "{near[0]}" meant?' if near else ""
        if location == _SOURCES and not prefix:
            return location, _SILENT, hint or _NOTHING_TO_HEAR
        return table, f"{last!r} is missing", hint
    if finding["type"] == "too_short" and location == _SOURCES and not prefix:
        return location, _SILENT, _NOTHING_TO_HEAR
    value = table[-1] if last == "[key]" and table else _value_at(data, location)
    secret = _secret(model, location)
    path = re.sub(r"\[\d+\]( \"[^\"]*\")?", "", f"{prefix}.{_notation(location, data)}".strip("."))
    what, hint = advice(finding, path, None if secret else value)
    for theirs, ours in _WORDS:
        what = what.replace(theirs, ours)
    if isinstance(value, (str, int, float, bool)) and location and not secret:
        what = f"{_shown(value)}: {what[:1].lower()}{what[1:]}"
    return location, what, hint


def _within(inner: Location, outer: Location) -> bool:
    return len(inner) > len(outer) and tuple(inner[: len(outer)]) == tuple(outer)


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _shown(value: str | float) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _notation(location: Location, data: Any) -> str:
    """Write a location as in the file: ``source[0] "radio-1".url``. What pydantic adds to name a branch of a union is left out."""
    text = ""
    for step in location:
        if isinstance(step, int):
            text += f"[{step}]"
            data = data[step] if isinstance(data, (list, tuple)) and step < len(data) else None
            if isinstance(data, dict) and isinstance(data.get("name"), str):
                text += f' "{data["name"][:60]}"'
        elif isinstance(data, dict) and step in data:
            text += f".{step}" if text else step
            data = data[step]
    return text


def _value_at(data: Any, location: Location) -> Any:
    for step in location:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _plain(annotation: Any) -> Any:
    """Take ``Annotated`` and ``… | None`` off a type."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
            continue
        branches = _branches(annotation)
        if len(branches) != 1:
            return annotation
        annotation = branches[0]


def _branches(annotation: Any) -> list[Any]:
    """Return the members of a union other than None; none where it is no union."""
    if get_origin(annotation) not in (Union, UnionType):
        return []
    return [branch for branch in get_args(annotation) if branch is not type(None)]


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    """Return types by key as it stands in the file."""
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _step(annotation: Any, step: int | str) -> Any:
    """Return the type one step down, or None where that cannot be told."""
    if _is_model(annotation):
        return _fields(annotation).get(str(step))
    origin, arguments = get_origin(annotation), get_args(annotation)
    if branches := _branches(annotation):
        return next((branch for branch in branches if getattr(_plain(branch), "__name__", "") == step), None)
    if not arguments or not isinstance(origin, type):
        return None
    if issubclass(origin, Mapping):
        return arguments[-1]
    if isinstance(step, int) and issubclass(origin, tuple) and Ellipsis not in arguments:
        return arguments[step] if step < len(arguments) else None
    return arguments[0]


def _annotation(model: Any, location: Location) -> Any:
    """Return the type that stands at a location, or None where that cannot be told."""
    for step in location:
        model = _plain(_step(_plain(model), step))
    return _plain(model)


def _keys(annotation: Any) -> list[str]:
    return list(_fields(annotation)) if _is_model(annotation) else []


def _secret(model: Any, location: Location) -> bool:
    """Whether a value is a secret, or part of one, or of a kind that cannot be told."""
    for length in range(1, len(location) + 1):
        annotation = _annotation(model, location[:length])
        if annotation is None:
            return location[length - 1] != "[key]"
        if _holds_secret(annotation):
            return True
    return False


def _holds_secret(annotation: Any) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, (SecretStr, SecretBytes)):
        return True
    return get_origin(annotation) is Secret or any(map(_holds_secret, get_args(annotation)))
