"""What the threads of this process are doing, for people."""

from __future__ import annotations

import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

__all__ = ["all_stacks", "call_of", "current_frames"]

_OURS: Final = "streamcls"
_LIBRARIES: Final = frozenset({"threading", "selectors", "queue", "contextlib"})
"""Of the standard library: that a thread waits there says nothing of who let it wait."""
_DEEPEST: Final = 40
"""Frames shown of one thread."""


def current_frames() -> Mapping[int, FrameType]:
    """Return each thread's innermost frame by the thread's identifier."""
    return sys._current_frames()  # noqa: SLF001 - documented in spite of its name


def call_of(frame: FrameType | None) -> str:
    """Say where a thread is: the outermost function of a stranger's, such as a plugin; where there is none, the innermost one.

    Returns
    -------
    str
        E.g. ``WedgingPolicy.update (wedging.py:31)``; empty without a frame.
    """
    if frame is None:
        return ""
    stranger: FrameType | None = None
    own: FrameType | None = None
    at: FrameType | None = frame
    while at is not None and own is None:
        package = str(at.f_globals.get("__name__", "")).partition(".")[0]
        if package == _OURS:
            own = at
        elif package not in _LIBRARIES:
            stranger = at
        at = at.f_back
    named = stranger or own or frame
    return f"{named.f_code.co_qualname} ({Path(named.f_code.co_filename).name}:{named.f_lineno})"


def all_stacks() -> str:
    """Return the stack of every thread by the thread's name, innermost call last; no values, since those may be secrets."""
    names = {thread.ident: thread for thread in threading.enumerate()}
    parts = []
    for identifier, frame in sorted(current_frames().items()):
        thread = names.get(identifier)
        name = thread.name if thread is not None else "unknown"
        native = getattr(thread, "native_id", None)
        title = f'thread "{name}"' + (f" ({native})" if native else "")
        lines = traceback.format_stack(frame)[-_DEEPEST:]
        parts.append(f"{title}:\n{''.join(lines).rstrip()}")
    return "\n".join(parts)
