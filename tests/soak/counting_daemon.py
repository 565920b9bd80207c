"""``streamcls``, with a thread that counts what is in memory: objects by type, and what the C library has handed out.

Usage: counting_daemon.py run CONFIG. A line of JSON goes to ``counts.jsonl`` beside CONFIG every 20 s. With ``SOAK_TRACE`` in the
environment it also says which lines of code allocated what has been added since the first count; that makes everything some times slower.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
import threading
import time
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar, Final

EVERY_S: Final = 20.0
_MOST: Final = 400
_FRAMES: Final = 8


class Mallinfo(ctypes.Structure):
    """``struct mallinfo2`` of glibc 2.33 (mallinfo(3))."""

    _fields_: ClassVar[Any] = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    ]


def handed_out() -> dict[str, int]:
    """Return bytes in use and free in the C library's arenas, and bytes it mapped by themselves."""
    library = ctypes.CDLL("libc.so.6")
    library.mallinfo2.restype = Mallinfo
    facts = library.mallinfo2()
    return {"used": facts.uordblks, "free": facts.fordblks, "mapped": facts.hblkhd}


def count(path: Path) -> None:
    """Write a line now and then, until the process ends."""
    first = None
    began = time.monotonic()
    while True:
        time.sleep(EVERY_S)
        gc.collect()
        types = Counter(f"{type(thing).__module__}.{type(thing).__qualname__}" for thing in gc.get_objects())
        line: dict[str, Any] = {
            "t_s": round(time.monotonic() - began),
            **handed_out(),
            "types": dict(types.most_common(_MOST)),
        }
        line["threads"] = sorted(thread.name for thread in threading.enumerate())
        if tracemalloc.is_tracing():
            ignored = (
                tracemalloc.Filter(inclusive=False, filename_pattern=tracemalloc.__file__),
                tracemalloc.Filter(inclusive=False, filename_pattern=__file__),
            )
            now = tracemalloc.take_snapshot().filter_traces(ignored)
            first = first or now
            grown = now.compare_to(first, "traceback")[:25]
            line["grown"] = [
                {"bytes": one.size_diff, "count": one.count_diff, "at": one.traceback.format()} for one in grown
            ]
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    from streamcls.cli import main

    if os.environ.get("SOAK_TRACE"):
        tracemalloc.start(_FRAMES)
    target = Path(sys.argv[-1]).with_name("counts.jsonl")
    threading.Thread(target=count, args=(target,), name="counts", daemon=True).start()
    main()
