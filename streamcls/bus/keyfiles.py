"""Reading and writing key files: small, ours, closed to others, and never quoted in an error."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from zmq.utils import z85

from streamcls.config.problems import problems_of
from streamcls.errors import BusError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "READ_BY_OTHERS",
    "WRITTEN_BY_OTHERS",
    "Key",
    "KeyFile",
    "checked",
    "folder_problem",
    "key_problem",
    "parse",
    "quote",
    "read",
    "write_new",
]

READ_BY_OTHERS: Final = 0o077
"""Bits of a file's mode that a secret must not have."""
WRITTEN_BY_OTHERS: Final = 0o022
"""Bits of a file's mode that a permission must not have."""
_KEY: Final = re.compile(r"[0-9a-zA-Z.:+=^!/*?&<>()\[\]{}@%$#-]{40}")
_MOST_BYTES: Final = 64 << 10
"""Of a key file."""


def key_problem(key: str) -> str:
    """Say in a clause what is wrong with a key, or return an empty string. The key itself is not repeated: it may be a secret."""
    if _KEY.fullmatch(key):
        with contextlib.suppress(
            Exception
        ):  # what pyzmq raises for digits beyond 32 bits differs from version to version
            if z85.encode(z85.decode(key)) == key.encode():
                return ""
    return f"{len(key)} characters, expected a key of 40 characters in Z85"


def checked(problem: Callable[[str], str]) -> AfterValidator:
    """Make a check for pydantic of a function that says what is wrong."""

    def check(value: str) -> str:
        if text := problem(value):
            raise ValueError(text)
        return value

    return AfterValidator(check)


Key = Annotated[str, checked(key_problem)]


class KeyFile(BaseModel):
    """What stands in a key file: known keys only, and errors do not repeat values."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


_Model = TypeVar("_Model", bound=BaseModel)


def parse(model: type[_Model], path: Path, text: str) -> _Model:
    """Read TOML, or raise BusError with what is wrong and without what stands there."""
    try:
        values: dict[str, Any] = tomllib.loads(text)
        return model.model_validate(values)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        # Its text may quote what stands there, which may be a secret.
        raise BusError(f"{path} is no valid TOML{_where(str(error))}") from None
    except ValidationError as error:
        raise BusError(f"{path}: " + "; ".join(str(problem) for problem in problems_of(error, model, values))) from None


def _where(text: str) -> str:
    found = re.search(r"\(at (line \d+, column \d+|end of document)\)", text)
    return f" at {found[1]}" if found else ""


def quote(text: str) -> str:
    """Return a text as TOML."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def read(path: Path, forbidden: int) -> str:
    """Read a small regular file that is ours or root's and that others have no access to beyond the allowed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            facts = os.fstat(descriptor)
            if problem := _access_problem(path, facts, forbidden):
                raise BusError(problem)
            if not stat.S_ISREG(facts.st_mode) or facts.st_size > _MOST_BYTES:
                raise BusError(f"{path} is no key file")
            return file.read(_MOST_BYTES).decode()
    except OSError as error:
        raise BusError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise BusError(f"{path} is no key file: it is not UTF-8") from None


def folder_problem(folder: Path) -> str:
    """Say what is wrong with a folder of keys, or return an empty string."""
    try:
        return _access_problem(folder, folder.stat(), WRITTEN_BY_OTHERS)
    except FileNotFoundError as error:
        return f"{folder} cannot be read: {error.strerror}; streamcls keys init makes it"
    except OSError as error:
        return f"{folder} cannot be read: {error.strerror}; let the daemon's user enter the folders above it"


def _access_problem(path: Path, facts: os.stat_result, forbidden: int) -> str:
    if os.geteuid() and facts.st_uid not in {os.geteuid(), 0}:  # root sees to the files of the daemon's user
        return f"{path} belongs to another user (number {facts.st_uid}); give it to the daemon's: chown"
    if facts.st_mode & forbidden:
        what = "read" if forbidden & stat.S_IROTH else "written"
        return f"{path} can be {what} by others: chmod go-{'rwx' if what == 'read' else 'w'} {path}"
    return ""


def write_new(path: Path, text: str) -> None:
    """Write a file of mode 0600, as mkstemp makes it, whole or not at all; never over another one."""
    descriptor, temporary = tempfile.mkstemp(prefix=".", suffix=".new", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        os.link(temporary, path)
    finally:
        Path(temporary).unlink()
