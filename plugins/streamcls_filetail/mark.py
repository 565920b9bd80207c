"""A place in a file: what the daemon keeps of a chunk, so that the source can deliver it and all that follows again."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from streamcls import RetryableSourceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamcls import SourceContext

__all__ = ["Mark", "earlier_file", "mark_of"]

_log = logging.getLogger(__name__)
_Count = Annotated[int, Field(ge=0)]
_MAX_BYTES: Final = 1 << 16


class Mark(BaseModel):
    """A place in a file.

    Attributes
    ----------
    path
        The file's name at that time, for people.
    device, inode
        The file's identity on the machine.
    head_bytes, head_sha256
        Length and hash of the first bytes of audio (at most 4096, never the header, which recorders rewrite).
    offset
        Bytes of audio before it, counted from the first byte of audio.
    index
        Absolute index of the sample that stands there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: Literal[1] = 1
    path: str
    device: _Count
    inode: _Count
    head_bytes: _Count
    head_sha256: str
    offset: _Count
    index: _Count


def mark_of(context: SourceContext) -> Mark | None:
    """Return from where a source is to go on, or None.

    The daemon's mark comes first. Without one, a file that an earlier release kept in the state folder is read; it is removed once
    the daemon has a mark.

    Raises
    ------
    RetryableSourceError
        The file of an earlier release is there and cannot be read: beginning without it would repeat audio.
    """
    kept, earlier = context.marks.get(context.name), context.state_dir / earlier_file(context.name)
    try:
        if kept is not None:
            earlier.unlink(missing_ok=True)
            return _understood(kept, "the mark")
        with earlier.open("rb") as file:
            return _understood(file.read(_MAX_BYTES), str(earlier))
    except FileNotFoundError:
        return None
    except OSError as error:
        text = f"{earlier}: cannot be read or removed: {error.strerror or error}; see to the folder"
        raise RetryableSourceError(text) from error


def earlier_file(name: str) -> str:
    """Return the name of the file in which earlier releases kept a source's place."""
    return f"filetail-{quote(name, safe='')}.json"


def _understood(kept: Mapping[str, Any] | bytes, what: str) -> Mark | None:
    try:
        return Mark.model_validate_json(kept) if isinstance(kept, bytes) else Mark.model_validate(dict(kept))
    except ValidationError as error:
        reason = error.errors(include_url=False, include_input=False)[0]["msg"]
        _log.warning("%s cannot be understood (%s): beginning without it", what, reason)
        return None
