"""The source ``mic`` against a sound card that does what it is told: the edge that real hardware cannot be made to show."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pydantic import ValidationError

import streamcls_mic
from streamcls import Chunk, EndOfStream, RetryableSourceError, Source, SourceContext, SourceError, StreamStatus
from streamcls.testing import SourceContract
from streamcls_mic.config import Config
from streamcls_mic.devices import InputDevice, choose
from streamcls_mic.source import MicSource

RATE = 1_000


class PortAudioError(Exception):
    pass


class Card:
    """Stands for the module sounddevice and one device of it. Its clock is the test's.

    It records a ramp (sample i is i / 2**20) in real time. ``plan`` maps a number of polls to what happens then.
    """

    PortAudioError = PortAudioError

    def __init__(self, **device: object) -> None:
        self.now = 1_000.0
        self.plan: dict[int, object] = {}
        self.default = SimpleNamespace(device=[-1, -1])
        self.device = {
            "name": "Card",
            "hostapi": 0,
            "max_input_channels": 2,
            "default_samplerate": float(RATE),
            **device,
        }
        self.initialised: list[str] = []
        self._initialized = 1
        self.opened: list[dict[str, object]] = []
        self.closed = 0
        self.polls = 0
        self.open_error: Exception | None = None
        self.lost = 0
        self.flag = False
        self.frozen = False

    def _terminate(self) -> None:
        self.initialised.append("terminate")

    def _initialize(self) -> None:
        self.initialised.append("initialise")

    def query_devices(self) -> list[dict[str, object]]:
        return [{**self.device, "name": "Speaker", "max_input_channels": 0}, self.device]

    def query_hostapis(self) -> list[dict[str, object]]:
        return [{"name": "Wire", "default_input_device": 1}]

    def InputStream(self, **keys: object) -> Card:  # noqa: N802  named by sounddevice
        if self.open_error:
            raise self.open_error
        if keys["channels"] > self.device["max_input_channels"]:
            raise PortAudioError("Invalid number of channels", -9998)
        self.opened.append(keys)
        self.started_at = self.now
        self.taken = 0
        self.lost = 0
        self.latency = 0.5
        return self

    def start(self) -> None:
        pass

    def close(self) -> None:
        self.closed += 1

    @property
    def read_available(self) -> int:
        self.polls += 1
        event = self.plan.get(self.polls)
        if callable(event):
            event()
        if self.frozen:
            return 0
        return round((self.now - self.started_at) * self.opened[-1]["samplerate"]) - self.taken - self.lost

    def read(self, n: int) -> tuple[np.ndarray, bool]:
        at = self.taken + self.lost
        self.taken += n
        flag, self.flag = self.flag, False
        ramp = np.arange(at, at + n, dtype=np.float32) / 2**20
        return np.repeat(ramp[:, None], self.opened[-1]["channels"], axis=1), flag

    def lose(self, n: int, *, report: bool) -> None:
        """Drop n samples of the past, as an overflow does."""
        self.now += n / RATE
        self.lost += n
        self.flag = report


class Clock(threading.Event):
    """A stop event whose waits move the card's clock; after ``waits`` of them it is set."""

    def __init__(self, card: Card, waits: int = 20) -> None:
        super().__init__()
        self.card = card
        self.left = waits

    def wait(self, timeout: float | None = None) -> bool:
        self.card.now += timeout
        self.left -= 1
        if self.left == 0:
            self.set()
        return self.is_set()


@pytest.fixture
def card(monkeypatch) -> Card:
    made = Card()
    monkeypatch.setitem(sys.modules, "sounddevice", made)
    monkeypatch.setattr(
        "streamcls_mic.source.time", SimpleNamespace(monotonic=lambda: made.now, time=lambda: made.now + 5e8)
    )
    return made


def mic(**keys: object) -> MicSource:
    return MicSource(Config.model_validate(keys), SourceContext("mic-1", Path()))


def chunks(items) -> list[Chunk]:
    return [item for item in items if isinstance(item, Chunk)]


def truth(chunk: Chunk) -> int:
    """Index of the chunk's first sample by what it holds."""
    return round(float(chunk.samples[0, 0]) * 2**20)


def test_the_plugin_offers_a_live_source() -> None:
    [offered] = streamcls_mic.register_sources()
    assert offered.name == "mic"
    assert isinstance(mic(), Source)
    assert mic().live is True


@pytest.mark.parametrize("keys", [{"device": -1}, {"device": ""}, {"channels": 0}, {"sample_rate": 0}, {"loud": True}])
def test_a_wrong_configuration_is_refused(keys) -> None:
    with pytest.raises(ValidationError):
        Config.model_validate(keys)


def test_it_records_as_the_device_comes_and_closes_it(card) -> None:
    source = mic()
    items = list(source.items(Clock(card)))
    assert items[0].state == "running"
    assert items[0].metadata == {"device": "Card", "host_api": "Wire", "sample_rate": RATE, "channels": 2}
    got = chunks(items)
    assert [chunk.first_sample for chunk in got] == [truth(chunk) for chunk in got]
    assert got[-1].end_sample > 500
    assert not got[0].samples.flags.writeable
    assert card.opened == [{"device": 1, "samplerate": RATE, "channels": 2, "dtype": "float32", "latency": 0.5}]
    assert card.closed == 1
    assert set(source.counters.values()) == {0}


def test_no_chunk_is_longer_than_configured_and_a_backlog_is_read_without_pauses(card) -> None:
    card.plan = {3: lambda: setattr(card, "now", card.now + 1)}
    got = chunks(mic(chunk_s=0.1).items(Clock(card, waits=8)))
    assert max(len(chunk.samples) for chunk in got) == 100
    assert got[-1].end_sample > 1_000


def test_the_wall_clock_is_when_the_sample_was_captured(card) -> None:
    for chunk in chunks(mic().items(Clock(card))):
        assert chunk.captured_at == pytest.approx(1_000.0 + 5e8 + truth(chunk) / RATE, abs=1e-3)


def test_an_overflow_becomes_a_gap_of_what_is_missing(card) -> None:
    card.plan = {8: lambda: card.lose(300, report=True)}
    source = mic()
    got = chunks(source.items(Clock(card)))
    jumps = [b.first_sample - a.end_sample for a, b in pairwise(got)]
    assert [jump for jump in jumps if jump] == pytest.approx([300], abs=1)
    assert [chunk.first_sample for chunk in got] == pytest.approx([truth(chunk) for chunk in got], abs=1)
    assert source.counters["overflows"] == 1


def test_an_overflow_that_only_the_question_for_samples_meets_becomes_a_gap_too(card) -> None:
    def overflow() -> None:
        card.lose(200, report=False)
        raise PortAudioError("Input overflowed", -9981)

    card.plan = {8: overflow}
    source = mic()
    got = chunks(source.items(Clock(card)))
    assert [chunk.first_sample for chunk in got][-1] == pytest.approx(truth(got[-1]), abs=2)
    assert source.counters["overflows"] == 1


def test_audio_dropped_without_a_word_becomes_a_gap_too(card) -> None:
    card.plan = {20: lambda: card.lose(4_000, report=False)}
    source = mic()
    got = chunks(source.items(Clock(card, waits=120)))
    assert got[-1].first_sample == pytest.approx(truth(got[-1]), abs=10)
    assert source.counters["losses"] == 1


def test_a_silent_stall_can_be_retried(card) -> None:
    card.plan = {5: lambda: setattr(card, "frozen", True)}
    source = mic(stall_s=2)
    with pytest.raises(RetryableSourceError, match="'Card' has delivered nothing for 2 s; is it still plugged in"):
        list(source.items(Clock(card, waits=1_000)))
    assert source.counters["stalls"] == 1
    assert card.closed == 1


def test_a_stop_is_seen_while_the_device_is_silent(card) -> None:
    card.frozen = True
    clock = Clock(card, waits=10)
    began = card.now
    assert chunks(mic().items(clock)) == []
    assert card.now - began < 0.5, "ten looks at the stop event took that long"


def test_a_failing_device_can_be_retried_and_portaudio_looks_for_devices_anew(card) -> None:
    def unplug() -> None:
        raise PortAudioError("Unanticipated host error", -9999)

    card.plan = {6: unplug}
    source = mic()
    with pytest.raises(
        RetryableSourceError, match=r'the default device cannot record: .*host error.*available: 1 "Card"'
    ) as caught:
        list(source.items(Clock(card)))
    assert isinstance(caught.value.__cause__, PortAudioError)
    assert card.initialised == ["terminate", "initialise"]
    card.now += 7
    card.plan = {}
    again = chunks(source.items(Clock(card)))
    assert card.initialised == ["terminate", "initialise"] * 2
    assert 7_000 <= again[0].first_sample < 7_600
    assert source.counters["reconnects"] == 1


def test_a_device_that_comes_back_otherwise_begins_a_new_stream(card) -> None:
    source = mic()
    first = chunks(source.items(Clock(card)))
    card.device["max_input_channels"] = 1
    items = list(source.items(Clock(card)))
    assert items[0] == EndOfStream("mic-1")
    assert isinstance(items[1], StreamStatus)
    assert chunks(items)[0].samples.shape[1] == 1
    assert chunks(items)[0].first_sample > first[-1].end_sample


def test_portaudio_is_left_alone_while_somebody_else_records(card) -> None:
    other = mic().items(Clock(card))
    next(other)
    list(mic().items(Clock(card)))
    assert card.initialised == ["terminate", "initialise"]
    other.close()
    list(mic().items(Clock(card)))
    assert card.initialised == ["terminate", "initialise"] * 2


def test_a_portaudio_that_cannot_be_initialised_can_be_retried(card, monkeypatch) -> None:
    def fail() -> None:
        raise PortAudioError("Error initializing PortAudio: Host API not found", -9979)

    monkeypatch.setattr(card, "_initialize", fail)
    with pytest.raises(RetryableSourceError, match=r"PortAudio cannot be initialised: .*Host API not found"):
        list(mic().items(Clock(card)))


@pytest.mark.parametrize(
    ("code", "retryable", "text"),
    [
        (-9997, False, "'Card' cannot record at 12345 Hz; its default sample_rate is 1000"),
        (-9998, False, "'Card' cannot record 2 channels; it has 1 to 2"),
        (-9985, True, "the default device cannot record: .*Device unavailable"),
    ],
)
def test_a_device_that_cannot_be_opened_says_why(card, code, retryable, text) -> None:
    card.open_error = PortAudioError("Device unavailable", code)
    with pytest.raises(SourceError, match=text) as caught:
        list(mic(sample_rate=12_345).items(Clock(card)))
    assert isinstance(caught.value, RetryableSourceError) == retryable


def test_a_read_that_fails_can_be_retried(card, monkeypatch) -> None:
    def fail(n: int) -> None:
        raise PortAudioError("Stream is stopped", -9983)

    monkeypatch.setattr(card, "read", fail)
    with pytest.raises(RetryableSourceError, match="Stream is stopped"):
        list(mic(device="card").items(Clock(card)))


DEVICES = [
    InputDevice(0, "USB Mic: Audio (hw:1,0)", "ALSA", 1, 48_000, default=False),
    InputDevice(2, "USB Interface", "ALSA", 8, 96_000, default=False),
    InputDevice(5, "default", "ALSA", 32, 44_100, default=True),
    InputDevice(6, "default-2", "ALSA", 2, 44_100, default=False),
]


@pytest.mark.parametrize(
    ("wanted", "number"),
    [(None, 5), (2, 2), ("usb mic", 0), ("INTERFACE", 2), ("default", 5), ("hw:1,0", 0), ("t-2", 6)],
)
def test_a_device_is_found_by_number_name_or_part_of_it(wanted, number) -> None:
    assert choose(DEVICES, wanted).number == number


@pytest.mark.parametrize("wanted", [1, 99, "HDMI"])
def test_a_device_that_is_not_there_may_come(wanted) -> None:
    with pytest.raises(
        RetryableSourceError, match=r'no input device .*available: 0 "USB Mic: Audio \(hw:1,0\)", 2 "USB Int'
    ):
        choose(DEVICES, wanted)


def test_no_device_at_all_may_come_too() -> None:
    expected = "no default input device; available: none; plug one in, or let the daemon's user record"
    with pytest.raises(RetryableSourceError, match=expected):
        choose([], None)


def test_a_name_that_fits_several_is_refused() -> None:
    with pytest.raises(
        SourceError, match=r"'usb' may be any of 0 .*, 2 .*; give more of its name or a number"
    ) as caught:
        choose(DEVICES, "usb")
    assert not isinstance(caught.value, RetryableSourceError)


WITHOUT_LIBRARY = """
import ctypes.util
ctypes.util.find_library = lambda name: None
"""
USE = """
import threading, pathlib
from streamcls import SourceContext, SourceError, RetryableSourceError
from streamcls_mic.source import MicSource
from streamcls.testing import SourceContract
from streamcls_mic.config import Config
print(MicSource.preflight(Config()))
try:
    list(MicSource(Config(), SourceContext("m", pathlib.Path())).items(threading.Event()))
except SourceError as error:
    print(isinstance(error, RetryableSourceError), error)
"""
CLI = "import click; from streamcls_mic import register_commands as r; cli = click.Group(); r(cli); cli()"
MISSING = "the PortAudio library is missing; apt install libportaudio2"


def test_a_missing_portaudio_says_what_to_install() -> None:
    run = subprocess.run([sys.executable, "-c", WITHOUT_LIBRARY + USE], capture_output=True, text=True, check=True)
    preflight, error = run.stdout.splitlines()
    assert MISSING in preflight
    assert error.startswith(f"False {MISSING}")


def test_devices_without_portaudio_says_what_to_install_and_fails() -> None:
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_LIBRARY + CLI, "devices"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert MISSING in run.stderr


def test_preflight_is_content_where_portaudio_is(card) -> None:
    assert MicSource.preflight(Config()) == []


def test_devices_prints_a_table_and_says_when_there_is_nothing(card) -> None:
    from click.testing import CliRunner

    from streamcls_mic.command import devices

    table = CliRunner().invoke(devices)
    assert table.exit_code == 0
    assert table.stdout.splitlines()[1].split() == ["*", "1", "Card", "2", "1000", "Wire"]
    card.device["max_input_channels"] = 0
    nothing = CliRunner().invoke(devices)
    assert nothing.exit_code == 0
    assert "No device here can record" in nothing.output


def test_a_missing_python_package_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert MicSource.preflight(Config()) == ["the Python package sounddevice is missing; pip install sounddevice"]


class PromptCard(Card):
    """A card whose clock is the real one."""

    def __init__(self) -> None:
        self._ahead = 0.0
        super().__init__()

    @property
    def now(self) -> float:
        return time.monotonic() + self._ahead

    @now.setter
    def now(self, value: float) -> None:
        self._ahead = value - time.monotonic()


class TestContract(SourceContract):
    component = MicSource

    @pytest.fixture(autouse=True)
    def _card(self, monkeypatch) -> None:
        monkeypatch.setitem(sys.modules, "sounddevice", PromptCard())

    def failing(self):
        return [{"channels": 3}]

    def retrying(self):
        return [{"device": "another card"}, {"device": 7}]
