from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

import pytest
from busside import event
from fakes import LONG_S, Collector
from journaling import journaled
from troubled import Troubled

from streamcls.bus.publisher import IN_PROCESS
from streamcls.config.resolve import ResolvedComponent
from streamcls.config.schema import SubscriberEntry
from streamcls.runtime.subscribers import IsolatedSubscriber, SubscriberThread, Surroundings, supervise

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("isolate", [False, True])
def test_it_runs_as_its_table_says(
    isolate: bool,
    tmp_path: Path,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{root / 'tests' / 'support'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    path, told = tmp_path / "out", Collector()
    table: dict[str, Any] = {"type": "troubled", "path": str(path), "isolate": isolate, "kinds": ["genre.segment"]}
    entry = SubscriberEntry.model_validate({**table, "streams": ["radio-*"]})
    resolved = ResolvedComponent("mine", "troubled", Troubled, Troubled.Config(**entry.options))
    with journaled(tmp_path) as bus:
        around = Surroundings(
            "studio",
            bus.context,
            IN_PROCESS,
            bus.endpoints[0],
            tmp_path / "cursors",
            told,
            lambda: bus.journal.position,
        )
        thread = supervise(entry, resolved, around)
        assert type(thread) is (IsolatedSubscriber if isolate else SubscriberThread)
        assert thread.facts()["state"] == "starting"
        thread.start()
        assert thread.ready.wait(LONG_S)
        for number, (kind, stream) in enumerate(
            [("genre.segment", "radio-1"), ("genre.window", "radio-1"), ("genre.segment", "mic")]
        ):
            bus.publish(event(number, kind, stream))
        deadline = time.monotonic() + LONG_S
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        thread.finish(LONG_S)
        thread.join(LONG_S)
        assert path.read_text(encoding="ascii") == "0\n"
        facts = thread.facts()
    assert json.loads(json.dumps(facts)) == facts
    assert (facts["alive"], facts["state"], facts["handled"], facts["restarts"]) == (False, "ended", 1, 0)
    assert told.events == []
    assert (tmp_path / "cursors" / "mine.cursor").is_file()
