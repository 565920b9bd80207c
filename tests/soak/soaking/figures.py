"""What a run came to, and whether that is as it must be."""

from __future__ import annotations

import platform
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from soaking import verdict
from soaking.slope import fitted_slope, steps

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

__all__ = ["figures_of", "memory_of", "verdict_of"]

_EXAMPLES: Final = 5
_HOUR_S: Final = 3_600
_KEEPS_ALL: Final = ("steady-", "rule-", "loose-", "swap-", "copy-", "clip-", "wide-", "turn-", "plain-", "bare-")
"""Beginnings of the names of streams whose senders lose nothing."""


def memory_of(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return how resident memory rose over the second half of the samples that were taken during the unrest."""
    busy = [row for row in rows if row["phase"] == "unrest"]
    if not busy:
        return {"second_half_from_s": 0.0, "slope_kb_per_hour": None, "kb_per_reload": None}
    half = (busy[0]["t_s"] + busy[-1]["t_s"]) / 2
    later = [row for row in busy if row["t_s"] >= half]
    found: dict[str, Any] = {
        "second_half_from_s": round(half, 1),
        "first_kb": rows[0]["rss_kb"],
        "before_kb": [row["rss_kb"] for row in rows if row["phase"] == "before"][-1:],
        "half_kb": later[0]["rss_kb"],
        "last_kb": busy[-1]["rss_kb"],
        "most_kb": max(row["rss_kb"] for row in rows),
        "uss_last_kb": next((row["uss_kb"] for row in reversed(busy) if "uss_kb" in row), None),
        "slope_kb_per_hour": None,
        "slope_whole_kb_per_hour": None,
        "kb_per_reload": None,
    }
    for name, chosen, column, factor in (
        ("slope_kb_per_hour", later, "t_s", _HOUR_S),
        ("slope_whole_kb_per_hour", busy, "t_s", _HOUR_S),
        ("kb_per_reload", later, "reloads", 1),
    ):
        known = [row for row in chosen if row.get(column) is not None]
        try:
            slope = fitted_slope([row[column] for row in known], [row["rss_kb"] for row in known])
        except ValueError:
            continue  # too short a run, or one without reloads
        found[name] = slope.times(factor)
    return found


def figures_of(run: Any, seconds: float) -> dict[str, Any]:
    """Gather everything of a run that has ended."""
    rows, folder = run.sampler.rows, run.folder
    events, losses = verdict.received(folder / "received.jsonl")
    positions = [int(event["position"]) for event in events if "position" in event]
    missing = verdict.holes(positions)
    last = int(run.sampler.status.get("journal", {}).get("position", 0))
    truth = verdict.truth_of(folder / "truth.toml", run.steady, run.bank, run.options.chunk)
    compared = verdict.compare_findings(truth, events)
    alerts = {event["data"]["id"] for event in events if event["type"] == "streamcls.moderation.alert"}
    steady = {
        (event["data"]["id"], event["data"]["phase"])
        for event in events
        if event["type"] == "streamcls.moderation.alert"
        and event["subject"].startswith("steady-")
        and event["data"]["phase"] != "updated"
    }
    written = verdict.jsonl_alerts(folder / "events.jsonl")
    ends = {
        (event["data"]["id"], event["data"]["phase"])
        for event in events
        if event["type"] == "streamcls.moderation.alert" and event["data"]["phase"] != "updated"
    }
    gaps = [e for e in events if e["type"] == "streamcls.stream.status" and e["data"].get("state") == "gap"]
    lost_audio = [e["subject"] for e in gaps if e["subject"].startswith(_KEEPS_ALL)]
    reloads, unrest = run.reloads, run.unrest
    quiet = {phase: [row for row in rows if row["phase"] == phase] for phase in ("before", "unrest", "after")}
    took = sorted(reloads.took_s)
    return {
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "seconds": round(seconds),
        "stream_hours": round(run.sampler.audio.seconds / _HOUR_S, 1),
        "models": run.sampler.status.get("models"),
        "streams_at_a_time": max((row.get("streams", 0) for row in rows), default=0),
        "memory": memory_of(rows),
        "files": _steps(quiet, "files"),
        "threads": _steps(quiet, "threads"),
        "cpu_s": rows[-1]["cpu_s"],
        "cpu_ms_per_stream_second": round(1e3 * rows[-1]["cpu_s"] / max(1.0, run.sampler.audio.seconds), 3),
        "harness_cpu_s": rows[-1]["harness_cpu_s"],
        "reloads": {
            "applied": reloads.applied,
            "refused_as_they_must": reloads.refused,
            "storms": reloads.storms,
            "daemon_counts": run.sampler.status.get("reload", {}).get("count"),
            "kinds": dict(sorted(reloads.kinds.items())),
            "took_s": {"median": took[len(took) // 2], "most": took[-1]} if took else None,
            "failures": reloads.failures,
        },
        "reconnects": {
            "count": unrest.reconnects,
            "kinds": dict(sorted(unrest.counts.items())),
            "slow": unrest.slow,
            "failures": unrest.failures[:_EXAMPLES],
            "failed": len(unrest.failures),
        },
        "journal": {
            "rotations": run.sampler.rotations.count,
            "dropped_events": run.sampler.rotations.dropped,
            "position": last,
            "most_bytes": max((row.get("journal_bytes", 0) for row in rows), default=0),
            "most_waiting": max((row.get("waiting", 0) for row in rows), default=0),
            "set_aside": run.sampler.status.get("journal", {}).get("set_aside"),
        },
        "events": {
            "received": len(events),
            "by_kind": dict(Counter(event["type"].removeprefix("streamcls.") for event in events)),
            "positions_missing": sum(b - a + 1 for a, b in missing),
            "not_received_at_the_end": max(0, last - max(positions, default=0)),
            "losses_told": len(losses),
            "examples": [str(hole) for hole in missing[:_EXAMPLES]] + [str(loss) for loss in losses[:_EXAMPLES]],
        },
        "truth": {
            "streams": len(truth),
            "stream_hours": round(sum(lane.seconds for lane in run.steady) / _HOUR_S, 2),
            "findings_told": sum(map(len, truth.values())),
            **{name: len(found) for name, found in compared.items()},
            "examples": [text for found in compared.values() for text in found[:_EXAMPLES]],
        },
        "findings": {name: _counted(found) for name, found in verdict.pairing(events).items()},
        "store": {
            "alerts": len(alerts),
            "missing": _counted(sorted(alerts - verdict.stored_alerts(folder / "store.db"))),
        },
        "jsonl": {
            "lines": sum(written.values()),
            "missing": _counted(sorted(" ".join(key) for key in ends - set(written))),
            "twice": sum(count - 1 for count in written.values()),
        },
        "webhook": {
            "requests": run.posted.requests,
            "refused_by_the_server": run.posted.refused,
            "repeated": run.posted.repeated,
            "missing": _counted(sorted(" ".join(key) for key in steady - run.posted.alerts)),
        },
        "clips": {
            name: max((row.get(column, 0) for row in rows), default=0)
            for name, column in (("most", "clips"), ("most_bytes", "clip_bytes"))
        }
        | {
            "announced": sum(event["type"] == "streamcls.moderation.evidence" for event in events),
            "removed": sum(
                e["type"] == "streamcls.daemon.evidence" and e["data"].get("state") == "removed" for e in events
            ),
        },
        "dropped_samples": max((row.get("dropped_samples", 0) for row in rows), default=0),
        "streams_with_gaps_that_must_have_none": sorted(set(lost_audio)),
        "unanswered": run.sampler.unanswered,
        "said_to_be_wrong": dict(sorted(run.sampler.wrong.items(), key=lambda item: -item[1])[: 4 * _EXAMPLES]),
        "exit_status": run.exit_status,
    }


def _counted(found: Sequence[str]) -> dict[str, Any]:
    return {"count": len(found), "examples": list(found[:_EXAMPLES])}


def _steps(quiet: dict[str, list[dict[str, Any]]], column: str) -> dict[str, float]:
    before, during, after = ([row[column] for row in quiet[phase]] for phase in ("before", "unrest", "after"))
    return steps(before, during, after).facts()


def verdict_of(figures: dict[str, Any], options: Namespace) -> list[str]:
    """Say what is not as it must be, as sentences."""
    wrong = []
    memory = figures["memory"]
    slope = memory["slope_kb_per_hour"]
    if slope is None:
        wrong.append("memory: too few samples for a slope")
    elif slope.high > options.limit_kb_per_hour:
        wrong.append(
            f"memory: the second half rises by {slope.per_unit:.0f} kB/h (95 %: {slope.low:.0f} to {slope.high:.0f}), "
            f"expected less than {options.limit_kb_per_hour:.0f}"
        )
    for name, allowed in (("files", options.more_files), ("threads", options.more_threads)):
        growth = figures[name]["last"] - figures[name]["first"]
        if growth > allowed:
            wrong.append(f"{name}: {growth:g} more at the end than at the beginning, expected at most {allowed}")
    events, truth = figures["events"], figures["truth"]
    nothing = {
        "events missing between the first and the last position": events["positions_missing"],
        "events not received at the end": events["not_received_at_the_end"],
        "losses told to the consumer": events["losses_told"],
        "findings missing": truth["missing"],
        "findings that are not true": truth["untrue"],
        "findings that differ from the truth": truth["different"],
        **{f"findings {name}": found["count"] for name, found in figures["findings"].items()},
        "alerts missing in the store": figures["store"]["missing"]["count"],
        "alerts missing in the file of events": figures["jsonl"]["missing"]["count"],
        "alerts that were not posted": figures["webhook"]["missing"]["count"],
        "samples dropped": figures["dropped_samples"],
        "streams with gaps": len(figures["streams_with_gaps_that_must_have_none"]),
        "failed reloads": len(figures["reloads"]["failures"]),
        "failed reconnects": figures["reconnects"]["failed"],
        "journals set aside": figures["journal"]["set_aside"] or 0,
        "the daemon's exit status": figures["exit_status"],
    }
    wrong += [f"{what}: {count}, expected 0" for what, count in nothing.items() if count]
    enough = {
        "seconds": (figures["seconds"], options.seconds),
        "stream-hours": (figures["stream_hours"], options.stream_hours),
        "reloads": (figures["reloads"]["applied"], options.reloads),
        "reconnects": (figures["reconnects"]["count"], options.reconnects),
        "journal rotations": (figures["journal"]["rotations"], options.rotations),
    }
    return wrong + [f"{what}: {had:g}, expected {want:g}" for what, (had, want) in enough.items() if had < want]
