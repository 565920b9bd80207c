"""Finished audio that breaks off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streamcls.audio.decode import decode_file
from streamcls.config import load_config
from streamcls.daemon import prepare
from streamcls.errors import AudioError
from streamcls.plugins import discover
from streamcls.runtime.models import plan_stream
from streamcls.runtime.offline import OfflinePool, classify_chunks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from streamcls.types import Chunk, Event


def test_what_was_found_before_the_damage_is_told_and_closed_before_the_error(root: Path) -> None:
    def broken() -> Iterator[Chunk]:
        for chunk in decode_file(root / "plugins" / "streamcls_demo" / "programme.opus", "tape"):
            if chunk.first_sample > 40 * chunk.sample_rate:
                raise AudioError("torn")
            yield chunk

    prepared = prepare(load_config(None), discover())
    plan = plan_stream(prepared.resolved, prepared.models, "tape")
    assert plan is not None
    events: list[Event] = []
    with pytest.raises(AudioError, match="torn"):
        events.extend(classify_chunks("tape", broken(), plan, OfflinePool()))
    phases = [event.data for event in events if "phase" in event.data]
    assert len(phases) > 2
    assert (phases[-1]["phase"], phases[-1]["reason"]) == ("closed", "source lost")
    assert {d["id"] for d in phases if d["phase"] == "opened"} == {d["id"] for d in phases if d["phase"] == "closed"}
