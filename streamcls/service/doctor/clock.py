"""Whether the clock is synchronised; events carry its time."""

from __future__ import annotations

import ctypes
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from streamcls.bus.wire import rfc3339
from streamcls.service.doctor.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["clock_findings", "kernel_synchronised"]

_UNSYNCHRONISED: Final = 0x40
"""STA_UNSYNC of <sys/timex.h>."""
_TIMEX_BYTES: Final = 512
"""More than a struct timex takes on any architecture."""
_STATUS_AT: Final = 4
"""struct timex is ``unsigned modes; long offset, freq, maxerror, esterror; int status; …``: so many longs before the status."""
_BUILT: Final = 1_750_000_000.0
"""Unix time before which this version cannot run: an earlier clock was never set."""
_MARK: Final = Path("/run/systemd/timesync/synchronized")


def clock_findings(now: float | None = None) -> Iterator[Finding]:
    """Look at the clock.

    Parameters
    ----------
    now
        Unix time in seconds; None: the clock's.
    """
    now = time.time() if now is None else now
    if now < _BUILT:
        yield Finding("clock", "problem", f"it says {rfc3339(now)}, which is long ago", "set it, or wait for NTP")
        return
    synchronised = kernel_synchronised()
    if synchronised is None and _MARK.exists():
        synchronised = True
    zone = time.strftime("%Z (%z)")
    if synchronised is None:
        what = f"{rfc3339(now)}, zone {zone}; whether it is synchronised cannot be told here"
        yield Finding("clock", "ok", what)
    elif synchronised:
        yield Finding("clock", "ok", f"{rfc3339(now)}, zone {zone}, synchronised")
    else:
        hint = "switch on systemd-timesyncd or chrony; in a container the host's may do it unseen"
        yield Finding("clock", "warning", f"{rfc3339(now)}, zone {zone}, not synchronised", hint)


def kernel_synchronised() -> bool | None:
    """Return what the kernel says of its clock (adjtimex(2), read only); None where it says nothing."""
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return None
    buffer = ctypes.create_string_buffer(_TIMEX_BYTES)  # modes = 0: nothing is set
    if adjtimex(buffer) < 0:
        return None
    word = ctypes.sizeof(ctypes.c_long)  # modes is padded to one
    status = ctypes.c_int.from_buffer(buffer, word * (1 + _STATUS_AT)).value
    return not status & _UNSYNCHRONISED
