"""Reading a configuration file."""

from __future__ import annotations

import os
import tomllib
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from streamcls.config.lines import with_lines
from streamcls.config.problems import problems_of
from streamcls.config.salvage import salvage
from streamcls.config.schema import Settings
from streamcls.config.syntax import syntax_hint
from streamcls.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["default_text", "load_config", "located", "name_of", "parse_config", "read_config"]

_LARGEST_FILE: Final = 4 << 20
"""Bytes."""


def name_of(path: Path | None) -> str:
    """Return what a configuration is called in messages."""
    return "the embedded configuration" if path is None else str(path)


def default_text() -> str:
    """Return the embedded configuration: the demo stream on the console."""
    return files("streamcls.config").joinpath("default.toml").read_text(encoding="utf-8")


def load_config(path: Path | None) -> Settings:
    """Read a file, or the embedded configuration where ``path`` is None.

    Raises
    ------
    ConfigError
        With every problem of its structure; those of its components are found by ``resolve``.
    """
    settings, problems = read_config(path)
    if problems:
        raise ConfigError(located(problems, path), name_of(path))
    return settings


def located(problems: Iterable[Problem], path: Path | None) -> list[Problem]:
    """Return problems of a file with the lines on which they are, as far as these can be told."""
    try:
        text = default_text() if path is None else _text_of(path)
    except ConfigError:  # it is gone meanwhile
        return list(problems)
    return with_lines(problems, text)


def parse_config(text: str, where: str) -> Settings:
    """Parse TOML and check its structure; ``where`` names it in messages."""
    settings, problems = _validate(_parse(text, where))
    if problems:
        raise ConfigError(problems, where)
    return settings


def read_config(path: Path | None) -> tuple[Settings, list[Problem]]:
    """Read a file, and return its problems beside what is usable of it, so that the rest can be checked as well.

    Raises
    ------
    ConfigError
        It cannot be read, or is no TOML.
    """
    return _validate(_parse(default_text() if path is None else _text_of(path), name_of(path)))


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST_FILE + 1)  # no more: a running daemon that reloads is not to fill the memory
            size = max(len(raw), os.fstat(file.fileno()).st_size)
    except OSError as error:
        hint = ""
        if isinstance(error, FileNotFoundError):
            hint = "streamcls config --default prints one to begin with"
        elif isinstance(error, PermissionError):
            hint = "let the daemon's user read it, and enter the folders above it"
        raise ConfigError([Problem(str(path), f"cannot be read: {error.strerror}", hint)]) from error
    if len(raw) > _LARGEST_FILE:
        raise ConfigError([Problem(str(path), f"has {size} bytes, expected at most {_LARGEST_FILE}")])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            [
                Problem(
                    str(path),
                    f"is not UTF-8: byte {error.start} is {raw[error.start]:#04x}",
                    f"line {line}; save it as UTF-8",
                )
            ]
        ) from error


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError, and the plain one for integers of thousands of digits
        raise ConfigError([Problem(where, f"is no valid TOML: {error}", syntax_hint(text, error))]) from error
    except RecursionError as error:
        raise ConfigError([Problem(where, "is nested too deeply")]) from error


def _validate(data: dict[str, Any]) -> tuple[Settings, list[Problem]]:
    try:
        return Settings.model_validate(data), []
    except ValidationError as error:
        return salvage(data), problems_of(error, Settings, data)
