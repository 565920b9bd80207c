"""What was received, held against what is true, and against itself."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from soaking.bank import RATE
from streamcls.daemon import prepare_file
from streamcls.plugins import discover
from streamcls.runtime.models import plan_stream
from streamcls.runtime.offline import OfflinePool, classify_chunks
from streamcls.types import Chunk, read_only

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from soaking.bank import AudioBank
    from soaking.feeder import Lane

__all__ = ["compare_findings", "holes", "jsonl_alerts", "pairing", "received", "stored_alerts", "truth_of"]

_FINDINGS: Final = ("streamcls.moderation.alert", "streamcls.genre.segment")
_CLOCK: Final = ("started_at", "ended_at")
_PIECE_S: Final = 10


def received(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the events that the consumer noted, each once, and the losses that it was told of.

    An event that was noted twice, before and after the consumer was killed, is taken once; a line that it was killed over is no line.
    """
    events: dict[str, dict[str, Any]] = {}
    losses = []
    for line in path.read_bytes().split(b"\n"):
        try:
            fact = json.loads(line)
        except ValueError:
            continue
        if "loss" in fact:
            losses.append(fact)
        else:
            events.setdefault(fact["id"], fact)
    return list(events.values()), losses


def holes(positions: Iterable[int]) -> list[tuple[int, int]]:
    """Return what is missing between the first and the last of some positions, as first and last of each hole."""
    ordered = sorted(set(positions))
    return [(a + 1, b - 1) for a, b in itertools.pairwise(ordered) if b - a > 1]


def pairing(events: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Look at the phases of every finding in the order in which they were published: opened, updated, closed, and perhaps so again.

    Again, because a stream that begins anew under a name that was used before may give the same samples the same id.

    Returns
    -------
    dict
        Ids of findings that were told of while ``unopened``, opened ``twice`` without an end, and ``left`` open.
    """
    is_open: dict[str, bool] = {}
    found: dict[str, list[str]] = {"unopened": [], "twice": [], "left": []}
    for event in sorted(events, key=lambda event: int(event.get("position", 0))):
        if event["type"] not in _FINDINGS:
            continue
        identifier, phase = f"{event['subject']} {event['data']['id']}", event["data"]["phase"]
        if phase == "opened":
            if is_open.get(identifier):
                found["twice"].append(identifier)
            is_open[identifier] = True
        elif not is_open.get(identifier):
            found["unopened"].append(f"{identifier} {phase}")
        else:
            is_open[identifier] = phase != "closed"
    found["left"] = [identifier for identifier, still in is_open.items() if still]
    return found


def truth_of(config: Path, lanes: Iterable[Lane], bank: AudioBank, chunk_s: float) -> dict[str, list[dict[str, Any]]]:
    """Classify what steady streams were sent, without a daemon; return the findings' data by stream, in order."""
    made = prepare_file(config, discover())
    pool = OfflinePool()
    truth = {}
    for lane in lanes:
        plan = plan_stream(made.resolved, made.models, lane.name)
        assert plan is not None
        events = classify_chunks(lane.name, _chunks(lane, bank, chunk_s), plan, pool)
        truth[lane.name] = [_plain(event.data) for event in events if f"streamcls.{event.kind}" in _FINDINGS]
    pool.close()
    return truth


def _chunks(lane: Lane, bank: AudioBank, chunk_s: float) -> Iterator[Chunk]:
    begin, loop = lane.place * round(chunk_s * RATE), len(bank.samples)
    for at in range(0, lane.index, _PIECE_S * RATE):
        places = np.arange(begin + at, begin + min(at + _PIECE_S * RATE, lane.index)) % loop
        samples = (bank.samples[places] / np.float32(32_768))[:, None].astype(np.float32)
        yield Chunk(lane.name, read_only(samples), RATE, at)


def _plain(data: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps({key: value for key, value in data.items() if key not in _CLOCK}))
    return found


def compare_findings(
    truth: Mapping[str, list[dict[str, Any]]], events: Iterable[Mapping[str, Any]]
) -> dict[str, list[str]]:
    """Hold what was received of steady streams against the truth, all phases and all data.

    Returns
    -------
    dict
        What is ``missing``, ``untrue`` and ``different``, as stream, id and phase.
    """
    said: dict[str, dict[tuple[str, str, int], dict[str, Any]]] = {stream: {} for stream in truth}
    for event in events:
        if event["subject"] in said and event["type"] in _FINDINGS:
            data = _plain(event["data"])
            said[event["subject"]][data["id"], data["phase"], data["end_sample"]] = data
    found: dict[str, list[str]] = {"missing": [], "untrue": [], "different": []}
    for stream, expected in truth.items():
        wanted = {(data["id"], data["phase"], data["end_sample"]): data for data in expected}
        for key, data in wanted.items():
            if key not in said[stream]:
                found["missing"].append(f"{stream} {key[0]} {key[1]}")
            elif said[stream][key] != data:
                found["different"].append(f"{stream} {key[0]} {key[1]}")
        found["untrue"] += [f"{stream} {key[0]} {key[1]}" for key in said[stream] if key not in wanted]
    return found


def stored_alerts(path: Path) -> set[str]:
    """Return the ids of the alerts in the store."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as store:
        return {str(row[0]) for row in store.execute("SELECT id FROM alerts")}


def jsonl_alerts(path: Path) -> Counter[tuple[str, str]]:
    """Return how often each phase of each alert stands in the file of events, by id and phase; updates are left out."""
    found: Counter[tuple[str, str]] = Counter()
    with path.open(encoding="utf-8") as file:
        for line in file:
            data = json.loads(line)["data"]
            if data["phase"] != "updated":
                found[data["id"], data["phase"]] += 1
    return found
