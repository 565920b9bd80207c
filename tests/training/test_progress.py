"""What is measured without the packages of the extra ``train``."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from streamcls.errors import TrainingError
from streamcls.training.broadcast.effects import reverberate
from streamcls.training.corpora import read_plain
from streamcls.training.evaluation.agreement import agreement
from streamcls.training.events.intervals import poisson_interval
from streamcls.training.features import FeatureCache
from streamcls.training.progress import progress
from streamcls.types import FrontEndSpec

if TYPE_CHECKING:
    from pathlib import Path


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tqdm", reason="tqdm is not installed")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(progress([1, 2, 3], "counting", "clip")) == [1, 2, 3]
    assert "counting" in terminal.getvalue()


def test_elsewhere_there_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress([1, 2, 3], "counting", "clip")) == [1, 2, 3]
    assert capsys.readouterr().err == ""


def test_without_tqdm_features_are_computed_all_the_same(
    monkeypatch: pytest.MonkeyPatch, sounds: Path, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(sys, "stderr", Terminal())
    clips = read_plain(sounds, ("tone",))[:2]
    assert len(FeatureCache(tmp_path, FrontEndSpec()).all_frames(clips)) == 2


def test_what_needs_scipy_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    values, groups = np.full((4, 3), 1 / 3, np.float32), np.arange(4)
    for attempt in (
        lambda: agreement(values, values, groups, ("a", "b")),
        lambda: poisson_interval(3, 1.0),
        lambda: reverberate(np.ones(100, np.float32), 8_000, rt60_s=0.1, pre_delay_ms=0.0, wet=0.5, seed=1),
    ):
        with pytest.raises(TrainingError, match=r"needs scipy, .* pip install 'streamcls\[train\]'"):
            attempt()
