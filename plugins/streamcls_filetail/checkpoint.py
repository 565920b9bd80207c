"""Where a file was left: kept on disk so that a later run can go on without losing or repeating a sample."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Annotated, Final, Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from streamcls import RetryableSourceError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Checkpoint", "CheckpointStore"]

_log = logging.getLogger(__name__)
_Count = Annotated[int, Field(ge=0)]
_MAX_BYTES: Final = 1 << 16


class Checkpoint(BaseModel):
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
        Bytes of audio delivered, counted from the first byte of audio.
    index
        Absolute index of the next sample.
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


class CheckpointStore:
    """Reads and writes one source's checkpoint. Used by one thread."""

    def __init__(self, state_dir: Path, name: str) -> None:
        self.path = state_dir / f"filetail-{quote(name, safe='')}.json"

    def load(self) -> Checkpoint | None:
        """Return the checkpoint or None; one that cannot be understood is renamed to ``….corrupt``.

        Raises
        ------
        RetryableSourceError
            It is there and cannot be read or renamed: beginning without it would repeat audio.
        """
        try:
            return self._load()
        except FileNotFoundError:
            return None
        except OSError as error:
            text = f"{self.path}: cannot be read: {error.strerror or error}; see to the folder"
            raise RetryableSourceError(text) from error

    def _load(self) -> Checkpoint | None:
        with self.path.open("rb") as file:
            text = file.read(_MAX_BYTES)
        try:
            return Checkpoint.model_validate_json(text)
        except ValidationError as error:
            aside = self.path.with_suffix(".json.corrupt")
            self.path.replace(aside)
            reason = error.errors(include_url=False, include_input=False)[0]["msg"]
            what = "checkpoint %s cannot be understood (%s): set aside as %s, beginning without it"
            _log.warning(what, self.path, reason, aside.name)
            return None

    def save(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint so that a crash leaves either the old or the new one; raises ``OSError``."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".json.tmp")
        with temporary.open("w", encoding="utf-8") as file:
            file.write(checkpoint.model_dump_json())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
