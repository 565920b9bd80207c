"""Faults of sound devices: one that vanishes, one that may not be used."""

from __future__ import annotations

import itertools
import subprocess
from typing import TYPE_CHECKING

from stage import AS_ANYBODY, Seen, Stage

if TYPE_CHECKING:
    from pathlib import Path

    from pulse import PulseSink

__all__ = ["device_not_permitted", "device_vanishes", "sound_server_dies"]

_MIC = """
[[source]]
name = "mic"
type = "mic"
stall_s = 2.0
"""


def _pactl(sink: PulseSink, *words: str) -> None:
    subprocess.run(["pactl", *words], env=sink.env, check=True, capture_output=True)


def device_vanishes(folder: Path) -> Seen:
    """The only device of a sound server that goes on goes away while it is recorded, and comes back."""
    from pulse import running_pulse

    with running_pulse() as sink, Stage(folder, sources=_MIC, env=sink.env) as stage:
        stage.start()
        stage.settle()
        stage.hear("mic")
        _pactl(sink, "unload-module", "module-null-sink")
        event = stage.event("stream.status", "mic", state="retrying")
        line = stage.line("source mic", "retrying")
        asked = stage.status("source mic: retrying")
        doctor = stage.doctor("devices")
        _pactl(sink, "load-module", "module-null-sink", "sink_name=tape", "rate=48000", "channels=2")
        _pactl(sink, "set-default-source", "tape.monitor")
        stage.hear("mic")
        lost, rate = _hole(stage)
        well = stage.status()
        others = stage.witnessed()
        exit_code = stage.stop()
    return Seen(
        "a sound device vanishes",
        "PortAudio over ALSA over PulseAudio records the monitor of a null sink; "
        "`pactl unload-module module-null-sink`, and later `load-module`",
        log=[line],
        events=[event],
        status=asked.wrong,
        doctor=doctor[1],
        exits={
            "status": asked.exit,
            "doctor": doctor[0],
            "status, with the device": well.exit,
            "run, stopped by SIGTERM": exit_code,
        },
        lost=f"what was to be heard meanwhile: {lost / rate:.1f} s here, the index goes on after {lost} samples",
        recovers="by itself. What was open is closed, the stream ends (`source lost`) and "
        "begins anew at an index as far on as the pause was long",
        others=others,
    )


def sound_server_dies(folder: Path) -> Seen:
    """The sound server is killed while it is recorded, and started again."""
    from pulse import running_pulse

    with running_pulse() as sink, Stage(folder, sources=_MIC, env=sink.env) as stage:
        stage.start()
        stage.settle()
        stage.hear("mic")
        sink.kill()
        event = stage.event("stream.status", "mic", state="retrying")
        line = stage.line("source mic", "retrying")
        asked = stage.status("source mic: retrying")
        doctor = stage.doctor("devices")
        sink.start()
        stage.hear("mic")
        lost, rate = _hole(stage)
        well = stage.status()
        others = stage.witnessed()
        exit_code = stage.stop()
    return Seen(
        "the sound server dies",
        "as above; PulseAudio is killed (SIGKILL) and started again",
        log=[line],
        events=[event],
        status=asked.wrong,
        doctor=doctor[1],
        exits={
            "status": asked.exit,
            "doctor": doctor[0],
            "status, with the server": well.exit,
            "run, stopped by SIGTERM": exit_code,
        },
        lost=f"what was to be heard meanwhile: {lost / rate:.1f} s here, the index goes on after {lost} samples",
        recovers="by itself, as above",
        others=others,
    )


def device_not_permitted(folder: Path) -> Seen:
    """The daemon's user may not open the device, and is permitted to while it runs."""
    from pulse import running_pulse

    with running_pulse() as sink, Stage(folder, sources=_MIC, env=sink.env, prefix=AS_ANYBODY) as stage:
        place = sink.env["PULSE_SERVER"].removeprefix("unix:")
        subprocess.run(["chmod", "000", place], check=True)
        doctor = stage.doctor("devices", prefixed=True)
        stage.start()
        stage.settle()
        event = stage.event("stream.status", "mic", state="retrying")
        line = stage.line("source mic", "retrying")
        asked = stage.status("source mic: retrying")
        subprocess.run(["chmod", "700", place], check=True)
        stage.hear("mic")
        well = stage.status()
        others = stage.witnessed()
        exit_code = stage.stop()
    return Seen(
        "the device is not permitted",
        "the sound server's socket is `chmod 000`; the daemon runs without the capabilities that let root pass over modes (`setpriv`)",
        log=[line],
        events=[event],
        status=asked.wrong,
        doctor=doctor[1],
        exits={
            "status": asked.exit,
            "doctor": doctor[0],
            "status, once permitted": well.exit,
            "run, stopped by SIGTERM": exit_code,
        },
        lost="the audio of that device until it is permitted",
        recovers="by itself: the device is tried again and again",
        others=others,
    )


def _hole(stage: Stage) -> tuple[int, int]:
    """Return the widest hole between two windows, in samples, and the rate; the stream must have said that it was lost."""
    stage.event("stream.status", "mic", state="ended", reason="source lost")
    windows = [event["data"] for event in stage.listener.of("moderation.window", "mic")]
    holes = [b["first_sample"] - a["end_sample"] for a, b in itertools.pairwise(windows)]
    rate = windows[-1]["sample_rate"]
    assert max(holes) > rate // 10, holes
    return max(holes), rate
