"""The source that resumes, the worker and the journal's part together, over a file that goes on growing."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from core_bundles import MANIFEST, write_bundle
from lives import NEVER, BitBackend, Ledger, live, story
from signals import programme
from tailing import Steps, wav_head

from streamcls import Chunk, SourceContext
from streamcls.config.resolve import ResolvedComponent
from streamcls.inference import load_bundle
from streamcls.runtime.models import LoadedModel, StreamPlan
from streamcls.runtime.resume import Resumption
from streamcls.runtime.workers import Worker
from streamcls.types import Checkpoint
from streamcls_filetail.config import Config
from streamcls_filetail.source import FileTailSource
from streamcls_genre.policy import GenrePolicy

if TYPE_CHECKING:
    from pathlib import Path

    from streamcls.types import StreamItem

RATE = 16_000


def made_plan(folder: Path) -> StreamPlan:
    bundle = load_bundle(write_bundle(folder, manifest=MANIFEST))
    config = GenrePolicy.Config(smooth_s=1, enter=0.4, leave=0.3, min_duration_s=0.5, update_s=1)
    genre = ResolvedComponent("genre", "genre", GenrePolicy, config)
    return StreamPlan(((LoadedModel("tiny", bundle, BitBackend(), 5), (genre,)),), {})


def delivered(path: Path, folder: Path, resumption: Resumption | None) -> list[StreamItem]:
    """Return what a source on the file delivers, made as the daemon makes it."""
    config = Config.model_validate({"path": str(path), "start": "resume"})
    context = SourceContext("radio", folder)
    if resumption is not None:
        context = SourceContext("radio", folder, resumption.marks("source"), resumption.reached("source"))
    source = FileTailSource(config, context)
    assert source.resumes
    # Without the wall clock, which is another one in each life.
    return [replace(item, captured_at=None) for item in source.items(Steps()) if isinstance(item, Chunk)]


def restarted(ledger: Ledger) -> Resumption:
    assert ledger.checkpoint is not None
    ledger.kill_at = 10**9
    checkpoints = {"radio": Checkpoint("radio", "source", json.loads(ledger.checkpoint))}
    resumption = Resumption(checkpoints, ledger.open(), [], ledger, resume_s=60.0)
    resumption.close_lost({"source"})
    return resumption


def written(seconds: float) -> bytes:
    return (programme(RATE, 12.0)[: round(seconds * RATE)] * 32_767).astype("<i2").tobytes()


def test_a_daemon_killed_again_and_again_over_a_growing_file_says_what_one_that_lived_says(tmp_path) -> None:
    plan = made_plan(tmp_path / "tiny")
    path = tmp_path / "tape.wav"
    path.write_bytes(wav_head(0, rate=RATE) + written(12.0))
    undisturbed = Ledger()
    assert live(plan, delivered(path, tmp_path, None), undisturbed)
    ledger, resumption = Ledger(), None
    for seconds, kill_at in ((5.0, 3), (5.0, 2), (9.0, 5), (12.0, 4), (12.0, NEVER)):
        path.write_bytes(b"") if not path.exists() else None
        with path.open("r+b") as file:
            file.write(wav_head(0, rate=RATE) + written(seconds))
            file.truncate()
        chunks = delivered(path, tmp_path, resumption)
        lived = live(plan, chunks, ledger, resumption=resumption, kill_at=kill_at)
        assert lived == (kill_at == NEVER)
        resumption = restarted(ledger)
    assert len(undisturbed.events) > 30
    assert story(ledger.events) == story(undisturbed.events)


def test_a_file_replaced_while_nobody_looked_begins_anew(tmp_path) -> None:
    plan = made_plan(tmp_path / "tiny")
    path = tmp_path / "tape.wav"
    path.write_bytes(wav_head(0, rate=RATE) + written(8.0))
    ledger = Ledger()
    assert not live(plan, delivered(path, tmp_path, None), ledger, kill_at=12)
    [segment] = ledger.open()
    path.rename(tmp_path / "old.wav")
    path.write_bytes(wav_head(0, rate=RATE) + written(6.0)[8_000:])
    resumption = restarted(ledger)
    chunks = delivered(path, tmp_path, resumption)
    assert live(plan, chunks, ledger, resumption=resumption)
    lost = [event.data["id"] for event in ledger.events if event.data.get("reason") == "daemon_lost"]
    assert lost == [segment["data"]["id"]]
    assert not ledger.open()
    windows = [event.data["first_sample"] for event in ledger.events if event.kind == "genre.window"]
    assert windows == sorted(set(windows)), "the index never goes back"


def test_a_stream_that_pauses_gets_its_checkpoint_all_the_same(tmp_path) -> None:
    """Else the windows since the last one would be said again after a kill, however long ago they were."""
    path = tmp_path / "tape.wav"
    path.write_bytes(wav_head(0, rate=RATE) + written(3.0))
    furthest: list[int] = []
    whole = threading.Event()

    def take(events, checkpoint) -> None:
        if checkpoint is not None:
            furthest.append(checkpoint.state["pipeline"]["furthest"])
            if furthest[-1] == 3 * RATE:
                whole.set()

    # The clock stands still: no piece of audio finds a checkpoint due.
    worker = Worker(0, lambda event: None, 60.0, publish_all=take, checkpoint_s=0.01, clock=lambda: 0.0)
    slot = worker.open("radio", StreamPlan((), {}), "", "source")
    worker.start()
    for chunk in delivered(path, tmp_path, None):
        worker.deliver(slot, chunk, live=False, stop=threading.Event())
    assert whole.wait(20.0), furthest
    worker.finish("shutdown", 1.0)
    worker.join()
