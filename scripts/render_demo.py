"""Render the programme that the embedded demo source plays in a loop.

    python scripts/render_demo.py [--output DIR]

writes ``programme.opus`` (mono, 48 kHz) and its cue sheet ``programme.toml``.  The music comes from
``demo_pieces.py`` through fluidsynth and the FluidR3 GM sound font, the words from espeak-ng, and
the siren is computed here; no recording is used.  The same versions of the tools give the same
file: every random number has a fixed seed.

On Debian: ``apt install fluidsynth fluid-soundfont-gm espeak-ng ffmpeg``.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from demo_pieces import midi_file, pieces
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from demo_pieces import Part, Piece

Signal = NDArray[np.float64]
"""Mono samples, shape (n,), or stereo, shape (n, 2); full scale is 1.0."""

Curve = tuple[tuple[float, float], ...]
"""Corners of a frequency response: (hertz, decibel), rising in frequency."""

RATE = 48_000
"""Samples per second everywhere; the only rate Opus knows inside."""
BITRATE = "48k"
SOUND_FONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
DEBIAN_PACKAGES = {"fluidsynth": "fluidsynth", "espeak-ng": "espeak-ng", "ffmpeg": "ffmpeg"}
DEFAULT_OUTPUT = Path(__file__).resolve().parent.parent / "plugins" / "streamcls_demo"

LOUDNESS_LUFS = -16.0
"""Loudness of every cue; the usual target of podcasts and web radio."""
CEILING = 10 ** (-2.5 / 20)
"""Peak of the mix before coding: 2.5 dB below full scale leaves room for what Opus adds."""
GATE_LUFS = -70.0
"""Blocks below this do not count in a measurement of loudness (ITU-R BS.1770)."""
AUDIBLE = 1e-3
"""Amplitude at which a spoken phrase is taken to begin."""
CROSSFADE_S = 0.2
TAIL_S = 0.4
"""Fade at the end of each piece."""

# fmt: off
PREAMPLIFIER: Curve = ((40, -40), (90, -6), (150, 0), (700, 4), (3000, 4), (6000, -12), (9000, -40))
"""What a guitar amplifier cuts before distortion, so that low strings stay tight."""
LOUDSPEAKER: Curve = (
    (40, -40), (80, -4), (120, 3), (400, -4), (900, -2), (2600, 5), (4500, 0), (6000, -18), (9000, -50),
)
"""A closed cabinet with 12 inch loudspeakers."""
SIREN_HORN: Curve = ((200, -30), (500, -3), (800, 0), (2500, 2), (5000, -10), (9000, -40))
STREET: Curve = ((30, -10), (80, 0), (300, -8), (1000, -16), (4000, -30), (12000, -50))
"""Spectrum of traffic heard from the pavement."""
# fmt: on


class RenderError(Exception):
    """The programme cannot be rendered; the message says what to do."""


@dataclass(frozen=True)
class Cue:
    """One line of the running order; ``what`` is music, speech, siren or silence."""

    what: str
    style: str
    text: str
    audio: Signal


# ---------------------------------------------------------------- external commands


def check_tools() -> None:
    """Raise `RenderError` that names every missing command and the Debian package with it."""
    absent = [name for name in DEBIAN_PACKAGES if not shutil.which(name)]
    missing = [f"command '{name}' (Debian package {DEBIAN_PACKAGES[name]})" for name in absent]
    if not SOUND_FONT.exists():
        missing.append(f"sound font {SOUND_FONT} (Debian package fluid-soundfont-gm)")
    if missing:
        raise RenderError("missing: " + ", ".join(missing))


def call(command: Sequence[str | Path], data: bytes | None = None) -> bytes:
    """Run ``command`` with ``data`` on its standard input and return its standard output."""
    done = subprocess.run([str(c) for c in command], input=data, capture_output=True, check=False)
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise RenderError(f"{command[0]} failed with status {done.returncode}: {' '.join(last)}")
    return done.stdout


def read_audio(path: Path, channels: int) -> Signal:
    """Decode and resample any audio file to float samples at `RATE`."""
    target = ["-f", "f32le", "-ac", str(channels), "-ar", str(RATE)]
    raw = call(["ffmpeg", "-v", "error", "-i", path, *target, "-"])
    samples = np.frombuffer(raw, dtype="<f4").astype(np.float64)
    return samples.reshape(-1, channels) if channels > 1 else samples


def synthesise(parts: Sequence[Part], piece: Piece) -> Signal:
    """Play ``parts`` with fluidsynth; returns stereo of exactly the length of the piece."""
    n = round(piece.duration_s * RATE)
    out = np.zeros((n, 2))
    if not parts:
        return out
    with tempfile.TemporaryDirectory() as folder:
        midi, wav = Path(folder, "piece.mid"), Path(folder, "piece.wav")
        midi.write_bytes(midi_file(parts, piece.tempo))
        options = {
            "synth.gain": 0.5,
            "synth.reverb.active": 1,
            "synth.reverb.room-size": piece.reverb,
            "synth.chorus.active": 0,
        }
        settings = [item for key, value in options.items() for item in ("-o", f"{key}={value}")]
        target = ["-r", str(RATE), "-T", "wav", "-O", "float", "-F", str(wav)]
        call(["fluidsynth", "-ni", *settings, *target, SOUND_FONT, midi])
        played = read_audio(wav, channels=2)[:n]
    out[: len(played)] = played
    return out


def speak(text: str, voice: str = "en-gb", words_per_minute: int = 165) -> Signal:
    """Have espeak-ng say ``text``, in a small room, with a short pause before and after."""
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder, "speech.wav")
        call(["espeak-ng", "-v", voice, "-s", str(words_per_minute), "-w", wav, text])
        voiced = read_audio(wav, channels=1)
    loud = np.flatnonzero(np.abs(voiced) > AUDIBLE)
    pause = np.zeros(round(0.3 * RATE))
    return room(np.concatenate([pause, voiced[loud[0] : loud[-1]], pause]), wet=0.15, seconds=0.35)


# ---------------------------------------------------------------- signal processing


def equalise(x: Signal, curve: Curve) -> Signal:
    """Filter without phase shift; the gain is straight over log frequency between corners."""
    spectrum = np.fft.rfft(x, axis=0)
    f = np.maximum(np.fft.rfftfreq(len(x), 1 / RATE), 1.0)
    hertz, decibel = zip(*curve, strict=True)
    gain = 10 ** (np.interp(np.log(f), np.log(hertz), decibel) / 20)
    filtered: Signal = np.fft.irfft(spectrum * (gain if x.ndim == 1 else gain[:, None]), len(x), axis=0)
    return filtered


def amplifier(x: Signal, drive: float) -> Signal:
    """Overdrive ``x`` as a high-gain guitar amplifier and its loudspeaker would."""
    level = float(np.sqrt(np.mean(x**2))) or 1.0
    return equalise(np.tanh(0.2 * drive * equalise(x / level, PREAMPLIFIER)), LOUDSPEAKER)


def room(x: Signal, wet: float, seconds: float, seed: int = 7) -> Signal:
    """Add a diffuse echo that decays by 60 dB in ``seconds``, at ``wet`` times the direct energy."""
    n = round(seconds * RATE)
    t = np.arange(n) / RATE
    echo = np.random.default_rng(seed).standard_normal(n) * 10 ** (-3 * t / seconds)
    echo *= wet / np.sqrt(np.sum(echo**2))
    size = len(x) + n
    tail = np.fft.irfft(np.fft.rfft(x, size) * np.fft.rfft(echo, size), size)[: len(x)]
    mixed: Signal = x + tail
    return mixed


def loudness(x: Signal) -> float:
    """Integrated loudness of mono ``x`` in LUFS (ITU-R BS.1770: K weighting, 400 ms blocks, two gates)."""
    z = np.exp(-2j * np.pi * np.fft.rfftfreq(len(x), 1 / RATE) / RATE)
    shelf = (1.53512485958697 - 2.69169618940638 * z + 1.19839281085285 * z**2) / (
        1 - 1.69065929318241 * z + 0.73248077421585 * z**2
    )
    high_pass = (1 - 2 * z + z**2) / (1 - 1.99004745483398 * z + 0.99007225036621 * z**2)
    weighted = np.fft.irfft(np.fft.rfft(x) * shelf * high_pass, len(x))
    energy = np.concatenate([[0.0], np.cumsum(weighted**2)])
    block, hop = round(0.4 * RATE), round(0.1 * RATE)
    starts = np.arange(0, len(x) - block + 1, hop)
    power = (energy[starts + block] - energy[starts]) / block
    level = -0.691 + 10 * np.log10(np.maximum(power, 1e-12))
    gated = power[level > GATE_LUFS]
    relative = -0.691 + 10 * np.log10(np.mean(gated)) - 10
    return float(-0.691 + 10 * np.log10(np.mean(power[level > max(GATE_LUFS, relative)])))


def limit(x: Signal) -> Signal:
    """Keep peaks under `CEILING`: the gain dips 5 ms around a peak and moves without steps."""
    reach = round(0.005 * RATE)
    needed = np.minimum(1.0, CEILING / np.maximum(np.abs(x), 1e-9))
    padded = np.pad(needed, reach, constant_values=1.0)
    lowest = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).min(axis=1)
    window = np.hanning(2 * reach + 3)[1:-1]
    smooth = np.convolve(np.pad(lowest, reach, mode="edge"), window / window.sum(), mode="valid")
    limited: Signal = x * smooth
    return limited


def mastered(x: Signal) -> Signal:
    """Bring mono ``x`` to `LOUDNESS_LUFS` with its peaks under `CEILING`."""
    for _ in range(3):  # limiting costs a little loudness, so come back to it
        x = limit(x * 10 ** ((LOUDNESS_LUFS - loudness(x)) / 20))
    return x


# ---------------------------------------------------------------- cues


def music(piece: Piece) -> Cue:
    """Render a piece: plain parts and amplified guitars, mixed to mono and faded out."""
    mix = synthesise(piece.parts, piece)
    if piece.amplified:
        # Left and right guitar have an amplifier each: distortion of their sum would be mud.
        guitars = amplifier(synthesise(piece.amplified, piece), piece.drive)
        mix /= np.sqrt(np.mean(mix**2))
        mix += piece.guitars * guitars / np.sqrt(np.mean(guitars**2))
    mono = mix.mean(axis=1)
    tail = round(TAIL_S * RATE)
    mono[-tail:] *= np.linspace(1, 0, tail) ** 2
    return Cue("music", piece.style, piece.text, mastered(mono))


def speech(text: str, voice: str = "en-gb") -> Cue:
    """Render an announcement."""
    return Cue("speech", "announcement", text, mastered(speak(text, voice)))


def siren(seconds: float = 7.2, seed: int = 3) -> Cue:
    """Compute the wail of an emergency vehicle that passes, over street noise."""
    n = round(seconds * RATE)
    t = np.arange(n) / RATE
    rise = 0.5 - 0.5 * np.cos(2 * np.pi * t / 3.2)
    hertz = 620 * (1380 / 620) ** rise
    phase = 2 * np.pi * np.cumsum(hertz) / RATE
    tone: Signal = sum((np.sin(k * phase) / k**1.2 for k in range(1, 9)), np.zeros(n))
    horn = equalise(np.tanh(1.5 * tone), SIREN_HORN)
    passing = 0.45 + 0.55 * np.exp(-(((t - 0.55 * seconds) / (0.35 * seconds)) ** 2))
    vehicle = room(horn * passing, wet=0.5, seconds=1.4)
    street = equalise(np.random.default_rng(seed).standard_normal(n), STREET)
    street *= 0.1 / np.sqrt(np.mean(street**2))
    fade = np.minimum(1.0, (seconds - t) / 0.8)
    text = "Siren of an emergency vehicle that passes in traffic."
    return Cue("siren", "wail", text, mastered((vehicle + street) * fade))


def silence(seconds: float) -> Cue:
    """Return digital silence."""
    return Cue("silence", "digital", "Silence.", np.zeros(round(seconds * RATE)))


def running_order() -> list[Callable[[], Cue]]:
    """Return the programme, each cue still to be rendered."""
    repertoire = pieces()
    return [
        lambda: speech("This is the demo programme. First, violin and piano, slowly."),
        lambda: music(repertoire["classical"]),
        lambda: speech("And now something louder. Two guitars, and a double bass drum.", "en-us"),
        lambda: music(repertoire["metal"]),
        lambda: silence(2.0),
        lambda: speech("After that silence, a little swing. The saxophone takes the tune."),
        lambda: music(repertoire["jazz"]),
        lambda: speech("To finish, the blues. And then, a siren in the street.", "en-us"),
        lambda: music(repertoire["blues"]),
        siren,
        lambda: silence(2.0),
    ]


# ---------------------------------------------------------------- programme


def assemble(cues: Sequence[Cue]) -> tuple[Signal, list[tuple[float, float]]]:
    """Join ``cues``, crossfading sound into sound; return the mix and (start, end) of each cue in seconds.

    A cue begins in the middle of its crossfade.  Silence is left whole: what is beside it fades by itself.
    """
    ramp = np.sin(np.linspace(0, np.pi / 2, round(CROSSFADE_S * RATE)))
    mix, starts = cues[0].audio, [0.0]
    for before, cue in pairwise(cues):
        n = 0 if "silence" in (before.what, cue.what) else len(ramp)
        joint = mix[len(mix) - n :] * ramp[::-1][:n] + cue.audio[:n] * ramp[:n]
        starts.append((len(mix) - n / 2) / RATE)
        mix = np.concatenate([mix[: len(mix) - n], joint, cue.audio[n:]])
    return limit(mix), list(zip(starts, [*starts[1:], len(mix) / RATE], strict=True))


def cue_sheet(cues: Sequence[Cue], times: Sequence[tuple[float, float]]) -> str:
    """Return the cue sheet as TOML; the texts here hold no character that TOML would escape."""
    lines = [
        "# Written by scripts/render_demo.py; edit that, not this.",
        'title = "streamcls demo programme"',
        'licence = "Apache-2.0: words, music and siren are our own; rendered with FluidR3 GM (MIT licence)"',
        f"duration_s = {times[-1][1]:.3f}",
    ]
    for cue, (start, end) in zip(cues, times, strict=True):
        lines += ["", "[[cue]]", f"start_s = {start:.3f}", f"end_s = {end:.3f}"]
        lines += [f'{key} = "{getattr(cue, key)}"' for key in ("what", "style", "text")]
    return "\n".join(lines) + "\n"


def encode(mix: Signal, path: Path) -> None:
    """Write ``mix`` as Ogg/Opus, without dates or random serial numbers."""
    source = ["-f", "f32le", "-ar", str(RATE), "-ac", "1", "-i", "-"]
    coder = ["-c:a", "libopus", "-b:a", BITRATE, "-vbr", "on", "-application", "audio"]
    plain = ["-map_metadata", "-1", "-fflags", "+bitexact", "-flags:a", "+bitexact", "-f", "ogg"]
    call(["ffmpeg", "-v", "error", "-y", *source, *coder, *plain, path], mix.astype("<f4").tobytes())


def main(arguments: Sequence[str] | None = None) -> int:
    """Render the programme; returns the exit status."""
    parser = argparse.ArgumentParser(description="Render the demo programme and its cue sheet.")
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, metavar="DIR", help="default: %(default)s")
    folder: Path = parser.parse_args(arguments).output
    try:
        check_tools()
        folder.mkdir(parents=True, exist_ok=True)
        cues = [render() for render in running_order()]
        mix, times = assemble(cues)
        encode(mix, folder / "programme.opus")
    except RenderError as error:
        print(f"render_demo: {error}", file=sys.stderr)
        return 1
    (folder / "programme.toml").write_text(cue_sheet(cues, times), encoding="utf-8")
    for cue, (start, end) in zip(cues, times, strict=True):
        print(f"{start:7.2f} {end:7.2f}  {cue.what:8} {cue.style}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
