"""On which line of a configuration a key stands: found by reading along, since the parser keeps no places.

What cannot be found has no line; a wrong one would be worse than none.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from streamcls.errors import Problem

__all__ = ["with_lines"]

Path: TypeAlias = tuple[str | int, ...]

_HEADING: Final = re.compile(r"\s*(\[\[?)\s*([^\]\[]+?)\s*\]\]?\s*(?:#.*)?")
_KEY: Final = re.compile(r"\s*([A-Za-z0-9_.\"'-]+)\s*=\s*(.*)")
_STEP: Final = re.compile(r"\"([^\"]*)\"|'([^']*)'|([A-Za-z0-9_:@+-]+)")
_NAMED: Final = re.compile(r'(source|subscriber) "([^"]*)"')
_REMARK: Final = re.compile(r" \([^)]*\)")
_BESIDE: Final = re.compile(r'(\]) "[^"]*"')
_TOKEN: Final = re.compile(r"\[(\d+)\]|\.?([^.\[\]]+)")
_CULPRIT: Final = re.compile(r"(?:unknown key |unknown table \[+)?'?([A-Za-z0-9_-]+)[']?(?: is |\]|$|,|:| )")


def with_lines(problems: Iterable[Problem], text: str) -> list[Problem]:
    """Return problems with the lines of ``text`` on which the keys stand that they name."""
    places: dict[Path, int] = {}
    names: dict[tuple[str, str], int] = {}
    for path, line, value in _entries(text):
        places.setdefault(path, line)
        if len(path) == 3 and path[2] in {"name", "type"} and isinstance(path[1], int):  # noqa: PLR2004 - table, index, key
            names.setdefault((str(path[0]), value.strip("\"'")), path[1])
    return [replace(problem, line=_line_of(problem, places, names)) for problem in problems]


def _line_of(problem: Problem, places: dict[Path, int], names: dict[tuple[str, str], int]) -> int | None:
    path = _path_of(problem.where, names)
    culprit = _CULPRIT.match(problem.what)
    if culprit is not None and (*path, culprit[1]) in places:
        return places[*path, culprit[1]]
    found = next((path[:end] for end in range(len(path), 0, -1) if path[:end] in places), ())
    below = next((other for other in places if path and other[: len(path)] == path), ())
    best = below if len(found) < len(path) and below else found
    return places.get(best)


def _path_of(where: str, names: dict[tuple[str, str], int]) -> Path:
    """Turn a problem's place, ``source[0] "fm".url`` or ``source "fm"``, into steps."""
    where = _BESIDE.sub(r"\1", _REMARK.sub("", where))
    named = _NAMED.match(where)
    if named is not None:
        index = names.get((named[1], named[2]))
        return (named[1],) if index is None else (named[1], index)
    if where == "file":
        return ()
    return tuple(int(index) if index else step for index, step in _TOKEN.findall(where))


def _entries(text: str) -> Iterator[tuple[Path, int, str]]:
    """Give path, line (from 1) and value of each heading and key."""
    counts: dict[Path, int] = {}
    table: Path = ()
    within = ""
    for number, line in enumerate(text.splitlines(), 1):
        if within:  # of a text of several lines
            within = "" if within in line else within
            continue
        within = next((mark for mark in ('"""', "'''") if line.count(mark) % 2), "")
        heading, key = _HEADING.fullmatch(line), _KEY.match(line)
        if heading is not None:
            table = _table(_steps(heading[2]), counts, several=heading[1] == "[[")
            yield table, number, ""
        elif key is not None:
            yield (*table, *_steps(key[1])), number, key[2].partition(" #")[0].strip()


def _steps(text: str) -> list[str]:
    return ["".join(found) for found in _STEP.findall(text)]


def _table(steps: list[str], counts: dict[Path, int], *, several: bool) -> Path:
    """Return a heading's path, with the index of each list of tables on its way."""
    path: Path = ()
    for step in steps[:-1]:
        path = (*path, step)
        if path in counts:
            path = (*path, counts[path])
    path = (*path, steps[-1]) if steps else path
    if several:
        counts[path] = counts.get(path, -1) + 1
        path = (*path, counts[path])
    return path
