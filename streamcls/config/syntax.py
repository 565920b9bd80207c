"""What is wrong with a file that is no TOML, in words that tell what to look for.

No value is shown: the line may hold a password.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["syntax_hint"]

_PLACE: Final = re.compile(r"\(at line (\d+), column (\d+)\)")
_KEY: Final = re.compile(r"\s*([A-Za-z0-9_.\"'-]+)\s*=\s*(.*)")
_REASONS: Final = (
    ("Illegal character '\\n'", "the text on this line has no closing quote"),
    ("Unterminated string", "a text has no closing quote"),
    ("Unclosed array", "a list that begins on this line or above has no closing bracket"),
    ("Unclosed inline table", "a table in braces stands on one line, and ends with a closing brace"),
    ("Expected ']'", "the name of a table has no closing bracket"),
    ("Unescaped '\\'", "a backslash has a meaning within double quotes; put the text into single quotes"),
    ("Expected '='", 'a line is KEY = VALUE, [TABLE], or a comment that begins with "#"'),
    ("Invalid statement", 'a line is KEY = VALUE, [TABLE], or a comment that begins with "#"'),
    ("Expected newline", 'a line has one value, and text stands in quotes; a comment begins with "#"'),
    ("Invalid initial character for a key", "a key has letters, digits, _ and - only"),
)


def syntax_hint(text: str, error: ValueError) -> str:
    """Return what to look for where a file was found to be no TOML; empty where nothing better can be said than the error does.

    Parameters
    ----------
    text
        The whole file.
    error
        As ``tomllib`` raised it.
    """
    said = str(error)
    place = _PLACE.search(said)
    lines = text.splitlines()
    line = lines[int(place[1]) - 1] if place and int(place[1]) <= len(lines) else ""
    found = _KEY.match(line)
    key, value = (found[1], found[2]) if found else ("", "")
    if said.startswith("Cannot overwrite a value"):
        return f'"{key}" is given twice in its table; leave one out' if key else "it is given twice; leave one out"
    if said.startswith(("Cannot declare", "Cannot mutate")):
        name = line.strip().partition("#")[0].strip("[] ")
        return f"[{name}] is given twice, or as something else before; put its keys under one heading"
    if said.startswith("Invalid value"):
        return _value_hint(key, value)
    return next((hint for beginning, hint in _REASONS if said.startswith(beginning)), "")


def _value_hint(key: str, value: str) -> str:
    of = f' of "{key}"' if key else ""
    word = value.partition("#")[0].strip()
    if not word:
        return f"the value{of} is missing"
    if word.lower() in {"true", "false"}:
        return f"write {key} = {word.lower()}, in lower case"
    if word.lower() in {"yes", "no", "on", "off", "none", "null"}:
        return f"the value{of} is a word; true and false stand without quotes, other words in quotes"
    return f"the value{of} is no number, list or date; text stands in quotes"
