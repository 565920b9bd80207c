"""Source ``filetail``: follows a growing file of raw PCM or WAV."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamcls import hookimpl

if TYPE_CHECKING:
    from streamcls import Source

__all__ = ["register_sources"]


@hookimpl
def register_sources() -> list[type[Source]]:
    """Offer the source ``filetail``."""
    from streamcls_filetail.source import FileTailSource

    return [FileTailSource]
