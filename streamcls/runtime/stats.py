"""What a heartbeat says."""

from __future__ import annotations

import logging
import math
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamcls.runtime.tally import models_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streamcls.bus import Publisher
    from streamcls.interfaces import Source
    from streamcls.runtime.slot import StreamSlot
    from streamcls.runtime.subscribers import Supervised
    from streamcls.runtime.supervisor import SourceThread
    from streamcls.runtime.workers import Worker

__all__ = ["heartbeat", "resident_bytes"]

_log = logging.getLogger("streamcls.stats")


def resident_bytes() -> int:
    """Return this process's resident memory in bytes; where /proc is missing, the most it ever was."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return pages * resource.getpagesize()


def heartbeat(
    uptime_s: float,
    bus: Publisher,
    workers: Iterable[Worker],
    sources: Iterable[SourceThread],
    subscribers: Iterable[Supervised],
) -> dict[str, Any]:
    """Gather every figure of the daemon as JSON values.

    ``positions`` maps each topic to the sequence of its last event, so that the loss of a very last event is noticed too.
    """
    workers = list(workers)
    return {
        "uptime_s": round(uptime_s, 1),
        "resident_bytes": resident_bytes(),
        "published": bus.published,
        "waiting": bus.waiting,
        "positions": bus.positions(),
        "streams": {slot.name: _stream(slot) for worker in workers for slot in worker.slots()},
        "models": models_of(worker.models for worker in workers),
        "sources": {
            thread.source_name: {
                "state": thread.state,
                "reason": thread.reason,
                "counters": _counters(thread.source),
            }
            for thread in sources
        },
        "subscribers": {thread.subscriber_name: thread.facts() for thread in subscribers},
    }


def _counters(source: Source) -> dict[str, int | float]:
    """Return what a source counts, where it counts something; only numbers by name, whatever a plugin makes of it."""
    try:
        return {
            str(k): v
            for k, v in dict(getattr(source, "counters", {})).items()
            if isinstance(v, (int, float)) and math.isfinite(v)
        }
    except Exception:  # noqa: BLE001 - a stranger's code: the heartbeat goes on without
        _log.warning("the counters of a source of type %s cannot be read", type(source).__qualname__, exc_info=True)
        return {}


def _stream(slot: StreamSlot) -> dict[str, Any]:
    pipeline = slot.pipeline
    facts: dict[str, Any] = {
        "state": slot.state,
        "live": slot.live,
        "waiting_s": round(slot.inbox.waiting_s, 3),
        "dropped_samples": slot.dropped_samples,
        "failures": slot.failures,
        **slot.tally.facts(windows=bool(slot.plan.models)),
    }
    if pipeline is not None:
        facts |= {"windows": pipeline.windows, "gaps": pipeline.gaps}
        facts |= {"lost_samples": pipeline.lost_samples, "next_sample": pipeline.next_sample}
        if pipeline.levels is not None:
            facts |= {"peak_dbfs": list(pipeline.levels.peak_dbfs), "rms_dbfs": list(pipeline.levels.rms_dbfs)}
    return facts
