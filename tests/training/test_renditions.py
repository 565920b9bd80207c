from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamcls.training.corpora import Clip
from streamcls.training.features import FeatureCache, file_hash, mono_signal
from streamcls.training.recipe_tables import BroadcastTable
from streamcls.training.renditions import draw_rendition, render_all
from streamcls.types import FrontEndSpec

SPEC = FrontEndSpec(n_mels=32, n_mfcc=32, normalise="window")


def clip(path: Path, row: int | None = None, renditions: int | None = None) -> Clip:
    return Clip(path, "c", ("a",), (), "a", "g", "train", row=row, renditions=renditions)


def test_a_rendition_depends_on_seed_content_and_number_alone():
    table = BroadcastTable(renditions=2, share=0.6)
    drawn = [
        draw_rendition(BroadcastTable(renditions=2, share=0.6, seed=seed), content, number)
        for seed, content, number in ((1, "ab" * 32, 1), (2, "ab" * 32, 1), (1, "cd" * 32, 1), (1, "ab" * 32, 2))
    ]
    assert len({rendition.digest for rendition in drawn}) == 4
    assert draw_rendition(table, "ab" * 32, 1).digest == drawn[0].digest
    assert all(abs(np.log(rendition.speed)) <= 0.0601 for rendition in drawn)


def test_without_stages_and_speed_a_rendition_is_the_file(sounds):
    path = sounds / "tone" / "tone-00.wav"
    rendition = draw_rendition(BroadcastTable(renditions=1, share=0.0, speed=0.0), file_hash(path), 1)
    np.testing.assert_array_equal(rendition.received(path, 22_050), mono_signal(path, 22_050))


def test_every_file_is_rendered_and_kept(sounds, tmp_path):
    table = BroadcastTable(renditions=2, share=1.0, speed=0.1)
    clips = [clip(sounds / "tone" / f"tone-0{i}.wav") for i in range(2)] + [clip(Path("rows.npz"), row=3)]
    store = FeatureCache(tmp_path, SPEC, 8)
    first = list(render_all(clips, store, None, table))
    assert [(c.path.name, track) for c, _, track in first] == [("tone-00.wav", None), ("tone-01.wav", None)] * 2
    plain = store.frames(clips[0].path)
    speed = draw_rendition(table, file_hash(clips[0].path), 1).speed
    assert len(first[0][1]) == pytest.approx(len(plain) / speed, abs=2)
    assert not np.allclose(first[0][1].features[:40], plain.features[:40], atol=1.0)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    again = list(render_all(clips, store, None, table))
    assert all(np.array_equal(a[1].features, b[1].features) for a, b in zip(first, again, strict=True))
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}


def test_another_share_or_speed_is_another_rendition():
    tables = [BroadcastTable(renditions=1, share=s, speed=v) for s, v in ((0.4, 0.06), (0.9, 0.06), (0.4, 0.2))]
    digests = [draw_rendition(table, "0f" * 32, 1).digest for table in tables]
    assert all(a != b for a, b in pairwise(digests))


def test_of_a_long_file_a_stretch_is_taken(sounds):
    path = sounds / "clicks" / "clicks-00.wav"
    table = BroadcastTable(renditions=1, share=0.0, speed=0.0, longest_s=0.5)
    rendition = draw_rendition(table, file_hash(path), 1)
    stretch = rendition.received(path, 22_050)
    whole = mono_signal(path, 22_050)
    first = round(rendition.place * (len(whole) - len(stretch)))
    assert len(stretch) == 11_025
    np.testing.assert_array_equal(stretch, whole[first : first + 11_025])


def test_a_corpus_may_have_renditions_of_its_own_number(sounds, tmp_path):
    clips = [clip(sounds / "tone" / f"tone-0{i}.wav", renditions=count) for i, count in enumerate((None, 0, 2))]
    made = render_all(clips, FeatureCache(tmp_path, SPEC, 8), None, BroadcastTable(renditions=1, share=0.0))
    assert [c.path.name for c, _, _ in made] == ["tone-00.wav", "tone-02.wav", "tone-02.wav"]


def test_only_what_is_loud_in_the_file_itself_carries_its_label(sounds, tmp_path):
    """A compressor lifts the background of a click to the click's own level; the label stays with the click."""
    path = tmp_path / "burst.wav"
    signal = 0.001 * np.random.default_rng(5).standard_normal(22_050 * 4)
    signal[44_100 : 44_100 + 4_410] += 0.7 * np.random.default_rng(6).standard_normal(4_410)
    soundfile.write(path, signal.astype(np.float32), 22_050)
    table = BroadcastTable(renditions=1, share=1.0, speed=0.0, longest_s=10.0)
    labelled = replace(clip(path), active_within_db=12.0)
    ((_, frames, _),) = render_all([labelled], FeatureCache(tmp_path, SPEC, 8), None, table)
    loud = np.flatnonzero(frames.power)
    assert 0 < len(loud) < 20
    assert abs(float(loud.mean()) * 512 / 22_050 - 2.05) < 0.15


def test_a_stretch_without_the_event_carries_no_label(tmp_path):
    path = tmp_path / "late.wav"
    signal = 0.001 * np.random.default_rng(5).standard_normal(22_050 * 20)
    signal[-22_050:] *= 500.0
    soundfile.write(path, signal.astype(np.float32), 22_050)
    labelled = replace(clip(path), active_within_db=12.0)
    active = []
    for seed in range(8):
        table = BroadcastTable(renditions=1, share=0.0, speed=0.0, longest_s=2.0, seed=seed)
        ((_, frames, _),) = render_all([labelled], FeatureCache(tmp_path, SPEC, 8), None, table)
        place = draw_rendition(table, file_hash(path), 1).place
        active.append((bool(frames.power.any()), place * 18.0 + 2.0 > 19.0))
    assert all(found == expected for found, expected in active)
    assert {found for found, _ in active} >= {False}
