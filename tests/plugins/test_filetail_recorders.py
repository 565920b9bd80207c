"""Files as other programs write them: soundfile's and Python's formats, and recorders at work."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tailing import Steps, append, runs, tail

from streamcls import Chunk, StreamStatus
from streamcls.audio.decode import read_file


def signal(n: int, channels: int) -> np.ndarray:
    t = np.arange(n)[:, None] / 16_000
    return (0.5 * np.sin(2 * np.pi * (300 + 100 * np.arange(channels)) * t)).astype(np.float32)


@pytest.mark.parametrize("container", ["WAV", "WAVEX", "RF64"])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT"])
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_every_encoding_equals_other_readers(tmp_path, container, subtype, channels) -> None:
    path = tmp_path / "tape.wav"
    soundfile.write(path, signal(3_001, channels), 16_000, subtype, format=container)
    [(first, samples)] = runs(tail(path, tmp_path).items(Steps()))
    assert first == 0
    np.testing.assert_array_equal(samples, soundfile.read(path, dtype="float32", always_2d=True)[0])
    ours, rate = read_file(path)
    assert rate == 16_000
    np.testing.assert_array_equal(samples, ours)


def test_python_s_wave_module_can_be_followed_while_it_writes(tmp_path) -> None:
    path = tmp_path / "tape.wav"
    audio = (signal(4_000, 1) * 32_767).astype("<i2")
    writer = wave.open(str(path), "wb")  # noqa: SIM115  it is written from the steps
    writer.setparams((1, 2, 16_000, 0, "NONE", ""))
    steps = [
        lambda i=i: (writer.writeframesraw(audio[i : i + 500].tobytes()), writer._file.flush())
        for i in range(0, 4_000, 500)
    ]
    [(_, samples)] = runs(tail(path, tmp_path).items(Steps(*steps, writer.close)))
    np.testing.assert_array_equal(samples[:, 0], audio[:, 0] / np.float32(32_768))


def test_soundfile_with_its_strings_behind_the_audio_can_be_followed_while_it_writes(tmp_path) -> None:
    path = tmp_path / "tape.wav"
    audio = signal(4_000, 2)
    writer = soundfile.SoundFile(path, "w", 16_000, 2, "PCM_24", format="WAV")
    steps = [lambda i=i: (writer.write(audio[i : i + 500]), writer.flush()) for i in range(0, 4_000, 500)]

    def close() -> None:
        writer.title = "a title that goes behind the audio"
        writer.close()

    [(_, samples)] = runs(tail(path, tmp_path).items(Steps(*steps, close)))
    np.testing.assert_array_equal(samples, soundfile.read(path, dtype="float32")[0])


def recorders(clip: Path, out: Path) -> dict[str, list[str]]:
    return {
        "ffmpeg to a file": [
            "ffmpeg",
            "-v",
            "error",
            "-re",
            "-i",
            str(clip),
            "-c:a",
            "pcm_s16le",
            "-flush_packets",
            "1",
            str(out),
        ],
        "ffmpeg to a pipe": ["sh", "-c", f"ffmpeg -v error -re -i '{clip}' -c:a pcm_s24le -f wav pipe:1 > '{out}'"],
        "ffmpeg RF64": [
            "ffmpeg",
            "-v",
            "error",
            "-re",
            "-i",
            str(clip),
            "-rf64",
            "always",
            "-c:a",
            "pcm_f32le",
            str(out),
        ],
        "ffmpeg RF64 when needed": ["ffmpeg", "-v", "error", "-re", "-i", str(clip), "-rf64", "auto", str(out)],
        "sox to a file": ["sox", str(clip), "-b", "24", str(out)],
        "sox to a pipe": ["sh", "-c", f"sox '{clip}' -t wav - > '{out}'"],
    }


def real_clip() -> Path:
    data = os.environ.get("STREAMCLS_DATA")
    if not data:
        pytest.skip("STREAMCLS_DATA is unset: no real recordings here")
    return min(Path(data, "gtzan_music_speech").rglob("*.ogg"))


@pytest.mark.parametrize("which", list(recorders(Path(), Path())))
def test_a_recorder_at_work_is_followed_without_losing_a_sample(tmp_path, which) -> None:
    clip = real_clip()
    source_wav, path = tmp_path / "clip.wav", tmp_path / "tape.wav"
    command = recorders(source_wav, path)[which]
    tool = "ffmpeg" if "ffmpeg" in which else "sox"
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    audio, rate = soundfile.read(clip, frames=2 * 22_050, dtype="int16")
    soundfile.write(source_wav, audio, rate)
    stop, ended = threading.Event(), threading.Event()
    items = []

    def follow() -> None:
        total = 0
        for item in tail(path, tmp_path, poll_s=0.01).items(stop):
            items.append(item)
            total += len(item.samples) if isinstance(item, Chunk) else 0
            if total >= len(audio):
                ended.set()

    follower = threading.Thread(target=follow)
    follower.start()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    append(path, b"")
    assert ended.wait(20), "the audio did not arrive whole"
    stop.set()
    follower.join()
    [(first, samples)] = runs(items)
    assert first == 0
    np.testing.assert_array_equal(samples[:, 0], audio / np.float32(32_768))
    assert not any(isinstance(item, StreamStatus) and item.state == "gap" for item in items)
