"""The music of the demo programme: four short pieces written as note lists.

Everything here is composed for this project; nothing is quoted.  A piece is data: parts, each
with a General MIDI instrument and its notes in beats.  ``midi_file`` turns parts into the bytes
of a Standard MIDI File, which any synthesiser can play.

Drum patterns are strings, one character per step: ``X`` accent, ``x`` normal, ``o`` soft,
``-`` ghost note, ``.`` nothing.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Note", "Part", "Piece", "midi_file", "pieces"]

TICKS_PER_BEAT = 480
DRUM_CHANNEL = 9
"""Channel 10 as musicians count: General MIDI reserves it for percussion."""

ROOM_KIT, POWER_KIT, JAZZ_KIT = 8, 16, 32
KICK, SNARE = 36, 38
CLOSED_HAT, PEDAL_HAT = 42, 44
CRASH, RIDE, CHINA, CRASH_2, RIDE_2 = 49, 51, 52, 57, 59
VELOCITIES = {"X": 120, "x": 98, "o": 72, "-": 42}


@dataclass(frozen=True)
class Note:
    """One note: start and length in beats, MIDI pitch (60 is middle C), velocity 1 to 127."""

    start: float
    length: float
    pitch: int
    velocity: int


@dataclass(frozen=True)
class Part:
    """One player: the notes and how they are voiced."""

    program: int
    """General MIDI programme counted from 0; for drums, the number of the kit."""
    notes: tuple[Note, ...]
    volume: int = 100
    """Channel volume (controller 7), 0 to 127."""
    pan: int = 64
    """Place in the stereo image (controller 10): 0 left, 64 centre, 127 right."""
    drums: bool = False
    swells: tuple[tuple[float, int], ...] = ()
    """Expression (controller 11) as (beat, value) corners, joined by straight lines."""


@dataclass(frozen=True)
class Piece:
    """A composition of ``beats`` beats, at ``tempo`` beats per minute."""

    style: str
    text: str
    """One sentence for the cue sheet."""
    tempo: float
    beats: float
    parts: tuple[Part, ...]
    amplified: tuple[Part, ...] = ()
    """Parts that go through the overdriven guitar amplifier rather than straight to the mix."""
    drive: float = 60.0
    """How hard the amplifier is driven: about 2 is warm, 60 is metal."""
    guitars: float = 1.6
    """Level of the amplified parts over that of the others, as a ratio of amplitudes."""
    reverb: float = 0.4
    """Room size given to the synthesiser, 0 to 1."""

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.beats * 60.0 / self.tempo


# ---------------------------------------------------------------- Standard MIDI File


def _variable_length(value: int) -> bytes:
    """Encode a delta time: seven bits per byte, most significant first."""
    out = [value & 0x7F]
    while value := value >> 7:
        out.append(0x80 | (value & 0x7F))
    return bytes(reversed(out))


def _line(corners: Sequence[tuple[float, int]], step: float = 0.125) -> Iterable[tuple[float, int]]:
    """Sample the broken line through ``corners`` every ``step`` beats."""
    for (a, low), (b, high) in pairwise(corners):
        n = max(1, round((b - a) / step))
        for i in range(n):
            yield a + (b - a) * i / n, round(low + (high - low) * i / n)
    if corners:
        yield corners[-1]


def midi_file(parts: Sequence[Part], tempo: float) -> bytes:
    """Return a format-0 Standard MIDI File that plays ``parts`` at ``tempo`` beats per minute."""
    channels = [c for c in range(16) if c != DRUM_CHANNEL]
    events: list[tuple[int, int, bytes]] = []  # tick, order within the tick, message

    def add(beat: float, order: int, *message: int) -> None:
        events.append((max(0, round(beat * TICKS_PER_BEAT)), order, bytes(message)))

    add(0, 0, 0xFF, 0x51, 0x03, *round(60e6 / tempo).to_bytes(3, "big"))
    for part in parts:
        channel = DRUM_CHANNEL if part.drums else channels.pop(0)
        add(0, 0, 0xC0 | channel, part.program)
        add(0, 0, 0xB0 | channel, 7, part.volume)
        add(0, 0, 0xB0 | channel, 10, part.pan)
        for beat, value in _line(part.swells):
            add(beat, 1, 0xB0 | channel, 11, value)
        for note in part.notes:
            add(note.start, 3, 0x90 | channel, note.pitch, note.velocity)
            add(note.start + note.length, 2, 0x80 | channel, note.pitch, 0)

    track, now = b"", 0
    for tick, _, message in sorted(events, key=lambda e: e[:2]):
        track += _variable_length(tick - now) + message
        now = tick
    track += b"\x00\xff\x2f\x00"
    header = b"MThd" + (6).to_bytes(4, "big") + bytes((0, 0, 0, 1)) + TICKS_PER_BEAT.to_bytes(2, "big")
    return header + b"MTrk" + len(track).to_bytes(4, "big") + track


# ---------------------------------------------------------------- writing notes


def _human(notes: Iterable[Note], seed: int, timing: float = 0.012, touch: int = 6) -> tuple[Note, ...]:
    """Loosen ``notes`` as hands would: ``timing`` in beats, ``touch`` in velocity; repeatable."""
    rng = random.Random(seed)  # noqa: S311 - musical, not cryptographic
    return tuple(
        Note(
            max(0.0, n.start + rng.gauss(0, timing)),
            n.length,
            n.pitch,
            min(127, max(1, round(n.velocity + rng.gauss(0, touch)))),
        )
        for n in notes
    )


def _drums(rows: dict[int, str], start: float, step: float = 0.25) -> list[Note]:
    """Read drum patterns, one string per instrument, from beat ``start``."""
    return [
        Note(start + i * step, step, pitch, VELOCITIES[mark])
        for pitch, row in rows.items()
        for i, mark in enumerate(row)
        if mark in VELOCITIES
    ]


def _melody(text: str, start: float = 0.0, velocity: int = 90, legato: float = 1.0) -> list[Note]:
    """Read ``pitch:beats`` words (``r`` for a rest; ``50+57:2`` for two notes at once)."""
    notes: list[Note] = []
    beat = start
    for word in text.split():
        name, length = word.split(":")
        pitches = [int(pitch) for pitch in name.split("+") if pitch != "r"]
        notes += [Note(beat, float(length) * legato, pitch, velocity) for pitch in pitches]
        beat += float(length)
    return notes


def _classical() -> Piece:
    """Write a slow movement for violin, strings and piano, in D minor."""
    chords = [  # piano left hand to right hand, one per bar
        (38, 57, 62, 65, 69), (43, 58, 62, 67, 70), (40, 55, 58, 61, 67), (41, 57, 62, 65, 69),
        (46, 53, 58, 62, 65), (43, 55, 58, 64, 67), (45, 57, 61, 64, 67),
    ]  # fmt: skip
    piano = []
    for bar, (bass, *upper) in enumerate(chords):
        piano += [Note(4 * bar, 3.9, bass, 66), Note(4 * bar + 2, 1.9, bass + 12, 54)]
        for i, voice in enumerate((0, 1, 2, 3, 2, 1, 2, 3) * 2):
            if i:
                piano.append(Note(4 * bar + i / 4, 0.5, upper[voice], 50 + 3 * voice + (i % 4 == 0) * 8))
    piano += [Note(28 + i * 0.05, 4, p, 60) for i, p in enumerate((38, 45, 57, 62, 65))]
    violin = _melody(
        "r:1 69:1 74:1.5 76:0.5  77:1.5 74:0.5 70:1 74:1  76:1.5 73:0.5 70:1 69:1  69:2 74:1 77:1 "
        "82:1.5 81:0.5 79:1 77:1  76:1.5 74:0.5 70:1 79:1  77:0.75 76:0.25 74:1 73:1 76:1  74:4",
        velocity=84,
        legato=1.02,
    )
    cello = _melody("50:4 55:2 46:2 52:2 49:2 53:4 46:4 43:2 40:2 45:4 38:4", velocity=76)
    strings = _melody(
        "57+62+65:4 58+62+67:4 55+58+61:4 57+62+65:4 58+62+65:4 58+62+64:4 57+62+64:2 57+61+64:2 57+62+65:4",
        velocity=62,
    )
    phrase = ((0, 70), (6, 112), (12, 84), (18, 124), (24, 104), (28, 92), (31, 60))
    return Piece(
        style="classical",
        text="Slow movement for violin, strings and piano in D minor.",
        tempo=118,
        beats=31,
        parts=(
            Part(0, _human(piano, 1), volume=104, pan=54),
            Part(40, _human(violin, 2), volume=92, pan=76, swells=phrase),
            Part(42, _human(cello, 3), volume=92, pan=84, swells=phrase),
            Part(48, _human(strings, 4), volume=74, pan=64, swells=phrase),
        ),
        reverb=0.75,
    )


def _metal() -> Piece:
    """Write a fast riff in E minor for two overdriven guitars, bass and double bass drum."""
    # One character per sixteenth: '0' palm-muted low E; a letter strikes a power chord that many
    # semitones above E ('a' is 0) and rings until the next character other than '.'.
    verse = ("000d.000c.000h.g", "000d.000f.e.d.b.")
    chorus = ("a...00a.00c.....", "f...00f.00h.g...", "d...00d.00c.....", "h...g...f...b...")
    bars = (*verse, *verse, *chorus, *chorus[:2], "a...............")
    steps = "".join(bars)
    guitar, bass = [], []
    for i, mark in enumerate(steps):
        if mark == ".":
            continue
        held = len(steps[i + 1 :]) - len(steps[i + 1 :].lstrip(".")) + 1
        root = 40 if mark == "0" else 40 + ord(mark) - ord("a")
        length = 0.13 if mark == "0" else held / 4 - 0.02
        pitches = (root, root + 7) if mark == "0" else (root, root + 7, root + 12)
        guitar += [Note(i / 4, length, p, 96 if mark == "0" else 118) for p in pitches]
        bass.append(Note(i / 4, max(0.2, length), root - 12, 112))
    drums: list[Note] = []
    for bar, fast in enumerate([True] * 4 + [False] * 6):
        drums += _drums(
            {
                KICK: "xxxxxxxxxxxxxxxx" if fast else "Xx.xXx.xXx.xXxxx",
                SNARE: "....X.......X..." if bar not in (3, 7) else "....X...X.X.XXXX",
                CLOSED_HAT if fast else CHINA: "X...x...X...x..." if fast else "x...x...x...x...",
                RIDE: "" if fast else "..o...o...o...o.",
                CRASH if bar % 4 == 0 else CRASH_2: "X..............." if bar % 2 == 0 else "",
            },
            4 * bar,
        )
    drums += _drums({KICK: "X.......", SNARE: "X.......", CRASH: "X...", CRASH_2: "X..."}, 40)
    lead = _melody(
        "76:.5 79:.25 83:.25 81:.5 79:.5 78:.5 79:.5 76:1 "
        "81:.5 84:.25 88:.25 86:.5 84:.5 83:.5 81:.5 83:1 "
        "79:.5 83:.25 86:.25 88:.5 86:.5 83:.5 79:.5 78:1 "
        "88:.25 86:.25 83:.25 79:.25 86:.25 83:.25 79:.25 78:.25 "
        "83:.25 79:.25 78:.25 74:.25 75:.5 71:.5 76:1 79:1 83:1 88:1 86:.5 88:.5 91:1 90:1 88:4",
        start=16,
        velocity=112,
    )
    return Piece(
        style="metal",
        text="Fast riff in E minor: two overdriven guitars, bass, double bass drum.",
        tempo=172,
        beats=43,
        parts=(
            Part(34, _human(bass, 5), volume=76),
            Part(POWER_KIT, _human(drums, 6, timing=0.006), volume=116, drums=True),
            Part(30, _human(lead, 7), volume=78, pan=70),
        ),
        amplified=(
            Part(29, _human(guitar, 8, timing=0.02), volume=110, pan=0),
            Part(30, _human(guitar, 9, timing=0.02), volume=100, pan=127),
        ),
        reverb=0.25,
    )


def _jazz() -> Piece:
    """Write a medium swing in F for tenor saxophone, piano, walking bass and ride cymbal."""
    late = 2 / 3  # where the second eighth of a swung beat falls
    voicings = {  # rootless left and right hand
        "Gm7": (53, 58, 62, 69), "C7": (52, 58, 62, 69), "F": (52, 57, 62, 67), "D7": (54, 60, 63, 70),
        "Bb": (53, 57, 62, 69), "Bdim": (53, 56, 62, 71), "Am7": (55, 60, 64, 71),
    }  # fmt: skip
    changes = [  # one per half bar
        "Gm7", "C7", "F", "D7", "Gm7", "C7", "Am7", "D7", "Bb", "Bdim", "Am7", "D7", "Gm7", "C7", "F", "F",
    ]  # fmt: skip
    walk = _melody(
        "43:1 46:1 48:1 47:1 41:1 45:1 50:1 42:1 43:1 41:1 40:1 36:1 45:1 43:1 38:1 42:1 "
        "46:1 50:1 47:1 50:1 45:1 48:1 50:1 54:1 43:1 50:1 48:1 40:1 41:1 45:1 48:1 40:1 41:3",
        velocity=100,
        legato=0.94,
    )
    skips = [Note(b + late, 0.25, walk[b].pitch, 62) for b in (3, 10, 17, 25)]
    comp = []
    rhythm = ((0, 0.3), (1 + late, 0.5)), ((late, 1.2),), ((1, 0.3),), ((late, 0.3), (1 + late, 0.4))
    for half, name in enumerate(changes):
        for at, length in rhythm[half % 4]:
            comp += [Note(2 * half + at, length, p, 74 - 14 * (at == 1)) for p in voicings[name]]
    comp += [Note(32, 3, p, 76) for p in (52, 57, 62, 67, 71)]
    drums: list[Note] = []
    for beat in range(32):
        drums.append(Note(beat, 0.3, RIDE if beat % 8 else RIDE_2, 88 + 12 * (beat % 2)))
        if beat % 2:
            drums += [Note(beat + late, 0.3, RIDE, 74), Note(beat, 0.2, PEDAL_HAT, 80)]
        drums.append(Note(beat, 0.2, KICK, 36))
    drums += [Note(b + late, 0.2, SNARE, v) for b, v in ((1, 50), (4, 38), (7, 62), (10, 40), (14, 66))]
    drums += [Note(b + late, 0.2, SNARE, v) for b, v in ((17, 50), (21, 38), (23, 64), (26, 44), (29, 60))]
    drums += [Note(beat + i / 3, 0.2, SNARE, 35 + beat + 10 * i) for beat in (15, 31) for i in range(3)]
    drums += [Note(32, 2, RIDE_2, 100), Note(32, 1, KICK, 70)]
    sax = [
        Note(int(at) + (late if at % 1 else 0), length, pitch, velocity)
        for at, length, pitch, velocity in (
            (0.5, 0.3, 62, 84), (1, 0.6, 65, 96), (1.5, 0.3, 67, 84), (2, 0.6, 69, 98),
            (2.5, 0.3, 70, 86), (3, 0.6, 67, 92), (3.5, 1.2, 69, 104), (5.5, 0.3, 67, 84),
            (6, 0.6, 66, 96), (6.5, 0.3, 63, 84), (7, 0.6, 60, 90), (7.5, 1.8, 62, 102),
            (10.5, 0.3, 69, 90), (11, 0.6, 70, 98), (11.5, 0.3, 67, 84), (12, 0.6, 64, 96),
            (12.5, 0.3, 60, 86), (13, 1.2, 67, 104), (14.5, 0.3, 66, 90), (15, 0.6, 63, 94),
            (15.5, 2.2, 65, 106), (18.5, 0.3, 71, 92), (19, 0.6, 74, 104), (19.5, 0.3, 72, 88),
            (20, 0.6, 71, 98), (20.5, 0.3, 67, 86), (21, 0.6, 64, 92), (21.5, 0.9, 66, 102),
            (23, 0.6, 72, 96), (23.5, 0.3, 70, 86), (24, 0.6, 69, 96), (24.5, 0.3, 67, 86),
            (25, 0.6, 65, 92), (25.5, 0.3, 62, 84), (26, 0.6, 64, 96), (26.5, 0.3, 61, 84),
            (27, 0.6, 60, 90), (27.5, 2.0, 65, 106), (30.5, 0.3, 69, 92), (31, 0.6, 68, 96),
            (31.5, 3.3, 67, 100),
        )
    ]  # fmt: skip
    return Piece(
        style="jazz",
        text="Medium swing in F: tenor saxophone, piano, walking bass, ride cymbal.",
        tempo=138,
        beats=35.5,
        parts=(
            Part(32, _human([*walk, *skips], 10), volume=100),
            Part(0, _human(comp, 11), volume=84, pan=44),
            Part(66, _human(sax, 12), volume=100, pan=74),
            Part(JAZZ_KIT, _human(drums, 13, timing=0.008), volume=92, drums=True),
        ),
        reverb=0.6,
    )


def _blues() -> Piece:
    """Write an eight-bar shuffle in A: lead guitar and harmonica take turns over boogie piano."""
    late = 2 / 3  # where the second eighth of a shuffled beat falls
    roots = (45, 40, 50, 50, 45, 40, 45, 45)  # one per bar: A E7 D7 D7 A E7 A (turnaround)
    boogie, bass = [], []
    for bar, root in enumerate(roots[:7]):
        for beat, top in enumerate((7, 9, 10, 9)):
            for at, length, velocity in ((0.0, 0.6, 100), (late, 0.25, 82)):
                boogie += [Note(4 * bar + beat + at, length, p, velocity) for p in (root, root + top)]
        for beat, step in enumerate((0, 4, 7, 9) if bar % 2 == 0 else (12, 9, 7, 4)):
            bass.append(Note(4 * bar + beat, 0.8, root - 12 + step, 104))
    bass += _melody("33:1 37:1 38:1 39:1 40:1 28:1 33:3", start=28, velocity=106, legato=0.9)
    boogie += [Note(32 + at, length, p, 100) for p in (52, 56, 62) for at, length in ((0, 0.3), (late, 1.2))]
    boogie += [Note(34, 3, p, 96) for p in (45, 52, 55, 61)]
    tune = (  # beat:pitch; an off-beat is written .5 and played late, .33 is the middle of a triplet
        "0.5:69 1:72 1.5:73 2:76 3:79 3.5:76 4:78 4.5:76 5:74 5.5:72 6:71 "
        "16:81 16.5:79 17:76 17.5:75 18:74 18.5:72 19:69 20:72 20.5:74 21:76 "
        "21.5:74 22:71 22.5:68 23:69 24:69 24.5:73 25:76 25.5:79 26:81 "
        "28:81 28.33:79 28.5:76 29:80 29.33:78 29.5:76 30:79 30.33:77 "
        "30.5:76 31:76 31.5:73 32:76 32.5:75 33:74 33.5:72 34:69"
    )
    flat = []
    for word in tune.split():
        place, _, pitch = word.partition(":")
        flat.append((int(place[:-2]) + late if place.endswith(".5") else float(place), int(pitch)))
    ends = [b for b, _ in flat[1:]] + [36.5]
    lead = [Note(b, min(end - b, 2.2) * 0.96, p, 108) for (b, p), end in zip(flat, ends, strict=True)]
    harp = _melody(
        "r:.67 69:.33 72:.67 74:.33 75:.33 74:.34 72:.66 69:1.34 r:.33 67:.33 69:2 "
        "r:.67 72:.33 74:.67 72:.33 69:.67 66:.33 67:.33 69:.34 66:.33 62:2",
        start=8,
        velocity=104,
        legato=0.95,
    )
    drums: list[Note] = []
    for beat, cymbal in enumerate([CLOSED_HAT] * 16 + [RIDE] * 18):
        drums += [Note(beat, 0.3, cymbal, 100), Note(beat + late, 0.3, cymbal, 78)]
        drums.append(Note(beat, 0.3, SNARE if beat % 2 else KICK, 112))
        if beat % 4 == 1:
            drums.append(Note(beat + late, 0.3, KICK, 84))
    drums += [Note(15 + i / 3, 0.2, SNARE, 80 + 14 * i) for i in range(3)]
    drums += [Note(b, 2, p, 108) for b in (0, 16, 34) for p in (CRASH, KICK)]
    return Piece(
        style="blues",
        text="Eight-bar shuffle in A: boogie piano, electric guitar, harmonica, bass, drums.",
        tempo=140,
        beats=37,
        parts=(
            Part(33, _human(bass, 14), volume=104),
            Part(22, _human(harp, 15), volume=84, pan=80),
            Part(0, _human(boogie, 17), volume=108, pan=50),
            Part(ROOM_KIT, _human(drums, 16, timing=0.008), volume=92, drums=True),
        ),
        amplified=(Part(27, _human(lead, 18), volume=112),),
        drive=4.0,
        guitars=0.7,
        reverb=0.4,
    )


def pieces() -> dict[str, Piece]:
    """Return the four pieces by style."""
    return {piece.style: piece for piece in (_classical(), _metal(), _jazz(), _blues())}
