"""Limits that the system sets for this process, raised as far as it may."""

from __future__ import annotations

import resource
from typing import Final

from streamcls.errors import StreamclsError

__all__ = ["LEAST_FILES", "allow_open_files"]

_WANTED: Final = 4_096
"""Open files: each sender and each subscriber takes one, each stream of a followed file, too."""
LEAST_FILES: Final = 64
"""A daemon with two sources and nobody listening has 34; without one that it needs, libzmq ends the process on the spot."""


def allow_open_files(wanted: int = _WANTED, least: int = LEAST_FILES) -> int:
    """Raise the soft limit of open files to ``wanted``, or as near as the hard one allows; return what it is then.

    Raises
    ------
    StreamclsError
        It stays below ``least``.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    allowed = wanted if hard == resource.RLIM_INFINITY else max(soft, min(wanted, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < least:
        raise StreamclsError(
            f"only {allowed} files may be open at a time, expected at least {least}, and one more for each sender and subscriber; "
            "raise the limit: ulimit -Hn, or LimitNOFILE= in the unit"
        )
    return allowed
