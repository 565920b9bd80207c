"""The source ``mic``: what a sound card records, as chunks."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, ClassVar, Final

from streamcls import Chunk, EndOfStream, RetryableSourceError, SourceError, StreamStatus
from streamcls_mic.clock import LossWatch
from streamcls_mic.config import Config as MicConfig
from streamcls_mic.devices import InputDevice, choose, input_devices, listing
from streamcls_mic.portaudio import PortAudio, load_sounddevice

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from pydantic import BaseModel

    from streamcls import SourceContext
    from streamcls.types import StreamItem

__all__ = ["MicSource"]

_INVALID_RATE: Final = -9997
_INVALID_CHANNELS: Final = -9998
_OVERFLOWED: Final = -9981
"""PortAudio's error codes."""
_POLL_S: Final = 0.02
"""Between two looks at a device that has nothing yet."""
_REST_S: Final = 0.05
"""Longest pause after a read, so that the next one finds more than a few samples."""


class MicSource:
    """Records one device as one stream, as it is: its rate, its channels. Used by one thread.

    Reads are blocking and ask only for what is there, so that a device which falls silent never holds the thread.
    The absolute index begins at 0 and goes on over retries, with a gap as long as the pause was.

    Attributes
    ----------
    counters
        ``overflows`` (reported by PortAudio), ``losses`` (found by the clock), ``stalls`` and ``reconnects``.
    """

    name: ClassVar[str] = "mic"
    Config: ClassVar[type[BaseModel]] = MicConfig
    live = True

    def __init__(self, config: MicConfig, context: SourceContext) -> None:
        self.counters = {"overflows": 0, "losses": 0, "stalls": 0, "reconnects": 0}
        self._config = config
        self._stream = context.name
        self._index = 0
        self._rate = 0
        self._channels = 0
        self._left_at: float | None = None

    @staticmethod
    def preflight(config: MicConfig) -> list[str]:  # noqa: ARG004  part of the contract
        """Return what is missing on this machine; a device that is not there is no problem, it may come."""
        try:
            load_sounddevice()
        except SourceError as error:
            return [str(error)]
        return []

    def items(self, stop: threading.Event) -> Iterator[StreamItem]:
        """Yield what the device records until ``stop`` is set; called again, look for the device anew.

        Raises
        ------
        RetryableSourceError
            The device is not there, was unplugged or delivers nothing.
        SourceError
            PortAudio is missing, the device's name is not unique, or it cannot record as configured.
        """
        with PortAudio.use() as sounddevice:
            devices: list[InputDevice] = []
            try:
                devices = input_devices(sounddevice)
                yield from self._record(sounddevice, choose(devices, self._config.device), stop)
            except sounddevice.PortAudioError as error:
                wanted = self._config.device
                name = "the default device" if wanted is None else f"device {wanted!r}"
                text = f"{name} cannot record: {error}; available: {listing(devices)}"
                raise RetryableSourceError(text) from error

    def _record(self, sounddevice: Any, device: InputDevice, stop: threading.Event) -> Iterator[StreamItem]:
        channels = self._config.channels or min(device.channels, 2)
        rate = self._config.sample_rate or device.sample_rate
        stream = self._open(sounddevice, device, rate, channels)
        changed = self._left_at is not None and (self._rate, self._channels) != (rate, channels)
        self._rate, self._channels = rate, channels
        about = {"device": device.name, "host_api": device.host_api, "sample_rate": rate, "channels": channels}
        try:
            if changed:
                yield EndOfStream(self._stream)
            yield StreamStatus(self._stream, "running", f"recording {device.name!r}", about)
            yield from self._read(sounddevice, stream, device, stop)
        finally:
            # A device that is gone cannot be closed in order, and nothing is lost by that.
            with PortAudio.lock, contextlib.suppress(sounddevice.PortAudioError):
                stream.close()

    def _open(self, sounddevice: Any, device: InputDevice, rate: int, channels: int) -> Any:
        try:
            with PortAudio.lock:
                stream = sounddevice.InputStream(
                    device=device.number,
                    samplerate=rate,
                    channels=channels,
                    dtype="float32",
                    latency=self._config.latency_s,
                )
                stream.start()
                return stream
        except sounddevice.PortAudioError as error:
            if _code(error) == _INVALID_RATE:
                text = f"{device.name!r} cannot record at {rate} Hz; its default sample_rate is {device.sample_rate}"
                raise SourceError(text) from error
            if _code(error) == _INVALID_CHANNELS:
                text = f"{device.name!r} cannot record {channels} channels; it has 1 to {device.channels}"
                raise SourceError(text) from error
            raise

    def _read(self, sounddevice: Any, stream: Any, device: InputDevice, stop: threading.Event) -> Iterator[Chunk]:
        rate = self._rate
        longest = max(1, round(self._config.chunk_s * rate))
        rest_s = min(_REST_S, stream.latency / 4)
        watch = LossWatch(rate, self._config.loss_s)
        heard_at = time.monotonic()
        begun = overflowed = False
        while not stop.is_set():
            available, met = _available(sounddevice, stream)
            overflowed |= met
            now = time.monotonic()
            if available == 0:
                if now - heard_at > self._config.stall_s:
                    self.counters["stalls"] += 1
                    silent = f"has delivered nothing for {self._config.stall_s:g} s"
                    raise RetryableSourceError(f"{device.name!r} {silent}; is it still plugged in?")
                stop.wait(_POLL_S)
                continue
            heard_at, wall = now, time.time()
            samples, lost = stream.read(min(available, longest))
            if not begun:
                self._continue(now - available / rate)
                begun = True
            self._index += self._missing(watch, now, self._index + available, overflowed=overflowed or lost)
            overflowed = False
            samples.flags.writeable = False
            yield Chunk(self._stream, samples, rate, self._index, wall - available / rate)
            self._index += len(samples)
            self._left_at = now - (available - len(samples)) / rate
            if available < 2 * longest:
                stop.wait(rest_s)

    def _continue(self, now: float) -> None:
        """Let the index go on after a pause as long as that was."""
        if self._left_at is None:
            return
        self.counters["reconnects"] += 1
        self._index += max(1, round((now - self._left_at) * self._rate))

    def _missing(self, watch: LossWatch, now: float, end_sample: int, *, overflowed: bool) -> int:
        if overflowed:
            self.counters["overflows"] += 1
            return watch.overflow(now, end_sample)
        missing = watch.observe(now, end_sample)
        self.counters["losses"] += missing > 0
        return missing


def _available(sounddevice: Any, stream: Any) -> tuple[int, bool]:
    """Return how many samples can be read without waiting, and whether the question itself met an overflow."""
    try:
        return stream.read_available, False
    except sounddevice.PortAudioError as error:
        if _code(error) == _OVERFLOWED:
            return stream.read_available, True
        raise


def _code(error: Any) -> int | None:
    return error.args[1] if len(error.args) > 1 else None
