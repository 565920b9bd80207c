from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from streamcls.errors import TrainingError
from streamcls.training.corpora import Clip
from streamcls.training.teacher import Teacher, TeacherTrack


def test_a_track_averages_what_is_heard_in_the_middle_of_a_window():
    track = TeacherTrack(np.eye(6, dtype=np.float32), 1.0)
    np.testing.assert_allclose(track.over(0.9, 2.1), [0, 1 / 3, 1 / 3, 1 / 3, 0, 0], atol=1e-6)
    np.testing.assert_array_equal(track.over(0.55, 0.7), [1, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(track.over(50.0, 51.0), [0, 0, 0, 0, 0, 1])


def test_yamnet_hears_speech_in_speech_and_is_asked_only_once(data, tmp_path):
    with (data / "reference" / "yamnet_class_map.csv").open() as file:
        names = [row["display_name"] for row in csv.DictReader(file)]
    speech = min((data / "gtzan_music_speech" / "speech").glob("*.ogg"))
    teacher = Teacher(data / "reference" / "yamnet.tflite", 16_000, tmp_path)
    assert teacher.n_classes == len(names)
    heard = teacher.track(speech).over(5.0, 15.0)
    assert names[int(heard.argmax())] == "Speech"
    kept = next(tmp_path.rglob("*.npz"))
    stamp = kept.stat().st_mtime_ns
    np.testing.assert_allclose(teacher.track(speech).over(5.0, 15.0), heard, atol=1e-3)
    assert kept.stat().st_mtime_ns == stamp


def test_a_clip_without_audio_has_no_track(data, tmp_path):
    teacher = Teacher(data / "reference" / "yamnet.tflite", 16_000, tmp_path)
    assert teacher.tracks([Clip(Path("rows.npz"), "c", ("a",), (), "a", "g", "train", row=3)]) == [None]


def test_a_missing_teacher_is_named(tmp_path):
    with pytest.raises(TrainingError, match=r"distillation\.teacher: .*none\.tflite cannot be read"):
        Teacher(tmp_path / "none.tflite", 16_000, tmp_path)
