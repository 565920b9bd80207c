"""The frozen values that flow from a source to the bus.

Arrays inside are read-only. Sample indices are absolute and count at the **source's** sample rate.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ENCODINGS",
    "AudioFormat",
    "Checkpoint",
    "Chunk",
    "EndOfStream",
    "Event",
    "FeatureWindow",
    "FloatArray",
    "FrontEndSpec",
    "Levels",
    "ModelInfo",
    "Posterior",
    "StreamItem",
    "StreamState",
    "StreamStatus",
    "read_only",
]

FloatArray: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]
"""A float32 array."""

Encoding = Literal["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le"]
StreamState = Literal["connecting", "running", "gap", "retrying", "stalled", "shed", "ended", "failed"]

ENCODINGS: Final[Mapping[str, int]] = {
    "pcm_u8": 1,
    "pcm_s16le": 2,
    "pcm_s24le": 3,
    "pcm_s32le": 4,
    "pcm_f32le": 4,
}
"""Bytes of one value of one channel, by encoding."""


_KINDS: Final[Mapping[type, str]] = {str: "a word", int: "a whole number", float: "a number"}


def read_only(array: FloatArray) -> FloatArray:
    """Mark an array as read-only and return it."""
    array.flags.writeable = False
    return array


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """How raw PCM bytes are to be read.

    Attributes
    ----------
    sample_rate
        In hertz, 1 to 768000.
    channels
        1 to 64, interleaved.
    encoding
        One of :data:`ENCODINGS`.
    """

    sample_rate: int
    channels: int
    encoding: Encoding

    def __post_init__(self) -> None:
        if not 1 <= self.sample_rate <= 768_000:  # noqa: PLR2004
            raise ValueError(f"sample_rate is {self.sample_rate}, expected 1 to 768000 Hz")
        if not 1 <= self.channels <= 64:  # noqa: PLR2004
            raise ValueError(f"channels is {self.channels}, expected 1 to 64")
        if self.encoding not in ENCODINGS:
            raise ValueError(f"encoding is {self.encoding!r}, expected one of {', '.join(ENCODINGS)}")

    @property
    def bytes_per_sample(self) -> int:
        """Bytes of one sample, all channels together."""
        return ENCODINGS[self.encoding] * self.channels


@dataclass(frozen=True, slots=True)
class Chunk:
    """Audio as captured, before any down-mix.

    Attributes
    ----------
    stream
        Name of the stream.
    samples
        Shape (n, channels), float32, full scale is -1 to 1.
    sample_rate
        The source's rate in hertz.
    first_sample
        Absolute index of the first sample, at the source's rate.
    captured_at
        Unix time in seconds of the first sample, or None where it has none (a finished file).
    mark
        From where the source can deliver this chunk and all that follows again, in its own words (JSON values); None where it
        cannot, or where a mark a little earlier serves as well. See :class:`~streamcls.interfaces.SourceContext`.
    """

    stream: str
    samples: FloatArray
    sample_rate: int
    first_sample: int
    captured_at: float | None = None
    mark: Mapping[str, Any] | None = None

    @property
    def end_sample(self) -> int:
        """Absolute index one past the last sample."""
        return self.first_sample + len(self.samples)


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """A change of a stream's state, travelling in band with its audio."""

    stream: str
    state: StreamState
    reason: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EndOfStream:
    """The last item of a stream; a later chunk of the same name begins a new one."""

    stream: str


StreamItem: TypeAlias = Chunk | StreamStatus | EndOfStream


@dataclass(frozen=True, slots=True)
class Levels:
    """Peak and RMS per channel over a stretch of audio, before the down-mix, in dBFS (full-scale sine: RMS -3)."""

    stream: str
    first_sample: int
    end_sample: int
    sample_rate: int
    peak_dbfs: tuple[float, ...]
    rms_dbfs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class FrontEndSpec:
    """Everything that determines the features of a signal.

    Attributes
    ----------
    kind
        ``mfcc``, ``log_mel`` or ``waveform`` (the model takes samples).
    sample_rate
        The model's rate in hertz.
    frame_length
        Samples of one frame at the model's rate. For ``waveform`` it equals ``hop_length``.
    hop_length
        Samples between the starts of two frames.
    n_fft
        FFT length; a frame is padded with zeros at its end up to it.
    window
        ``hann`` (periodic) or ``rectangular``.
    power
        Exponent of the magnitude: 2 for a power spectrum, 1 for magnitudes.
    n_mels
        Mel bands.
    mel_scale
        ``slaney`` (linear below 1 kHz) or ``htk``.
    mel_norm
        ``slaney`` (each band has unit area) or ``none``.
    fmin, fmax
        Edges of the lowest and highest band in hertz.
    log_floor
        Band energies below it count as it, before ``10 log10``.
    n_mfcc
        Coefficients kept, at most ``n_mels``; unused for ``log_mel``.
    dct_norm
        ``ortho`` or ``none``, of the type-II DCT.
    normalise
        ``window`` subtracts the mean of a window's log-mel (all bands together) and divides by its standard deviation, which
        cancels any gain; ``none`` leaves decibels.
    """

    kind: Literal["mfcc", "log_mel", "waveform"] = "mfcc"
    sample_rate: int = 22_050
    frame_length: int = 2_048
    hop_length: int = 512
    n_fft: int = 2_048
    window: Literal["hann", "rectangular"] = "hann"
    power: float = 2.0
    n_mels: int = 64
    mel_scale: Literal["slaney", "htk"] = "slaney"
    mel_norm: Literal["slaney", "none"] = "slaney"
    fmin: float = 0.0
    fmax: float = 11_025.0
    log_floor: float = 1e-10
    n_mfcc: int = 64
    dct_norm: Literal["ortho", "none"] = "ortho"
    normalise: Literal["none", "window"] = "none"

    def __post_init__(self) -> None:
        for part in fields(self):
            given, wanted = getattr(self, part.name), type(part.default)
            if wanted is float and type(given) is int:
                object.__setattr__(
                    self, part.name, float(given)
                )  # 8000 and 8000.0 are equal, and so must their digests be
            elif type(given) is not wanted:
                raise ValueError(f"{part.name} is {given!r}, expected {_KINDS[wanted]}")
        rules = (
            (self.kind in {"mfcc", "log_mel", "waveform"}, "kind", "mfcc, log_mel or waveform"),
            (self.window in {"hann", "rectangular"}, "window", "hann or rectangular"),
            (self.mel_scale in {"slaney", "htk"}, "mel_scale", "slaney or htk"),
            (self.mel_norm in {"slaney", "none"}, "mel_norm", "slaney or none"),
            (self.dct_norm in {"ortho", "none"}, "dct_norm", "ortho or none"),
            (self.normalise in {"none", "window"}, "normalise", "none or window"),
            (self.sample_rate in range(1_000, 384_001), "sample_rate", "1000 to 384000 Hz"),
            (1 <= self.hop_length <= 1 << 16, "hop_length", "1 to 65536 samples"),
            (self.hop_length <= self.frame_length <= 1 << 16, "frame_length", "hop_length to 65536 samples"),
            (self.frame_length <= self.n_fft <= 1 << 17, "n_fft", "frame_length to 131072"),
            (self.power in {1.0, 2.0}, "power", "1 or 2"),
            (self.n_mels in range(1, 1_025), "n_mels", "1 to 1024"),
            (1 <= self.n_mfcc <= self.n_mels, "n_mfcc", f"1 to n_mels ({self.n_mels})"),
            (0 <= self.fmin < self.fmax, "fmin", "0 to fmax"),
            (self.fmax <= self.sample_rate / 2, "fmax", f"at most half the sample rate ({self.sample_rate / 2:g} Hz)"),
            (0 < self.log_floor < 1, "log_floor", "above 0 and below 1"),
            (
                self.kind != "waveform" or self.hop_length == self.frame_length,
                "frame_length",
                "equal to hop_length where kind is waveform",
            ),
        )
        for holds, name, expected in rules:
            if not holds:
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected {expected}")

    @property
    def n_features(self) -> int:
        """Values per frame that a model sees."""
        return {"mfcc": self.n_mfcc, "log_mel": self.n_mels, "waveform": self.hop_length}[self.kind]

    @property
    def digest(self) -> str:
        """SHA-256 over every field, as hexadecimal digits: the identity of the features."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @classmethod
    def field_names(cls) -> tuple[str, ...]:
        """Names of all fields, in order."""
        return tuple(f.name for f in fields(cls))


@dataclass(frozen=True, slots=True)
class FeatureWindow:
    """What one classification sees.

    Attributes
    ----------
    features
        Shape (n_frames, n_features), float32, read-only.
    first_sample, end_sample
        Absolute indices at the source's rate; the end is exclusive.
    level_dbfs
        RMS of the mono signal over the window in decibels below full scale, -120 for silence.
    """

    stream: str
    features: FloatArray
    first_sample: int
    end_sample: int
    sample_rate: int
    level_dbfs: float


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a policy may know of the model it listens to.

    Attributes
    ----------
    exclusive
        True where the posteriors sum to one (softmax), False where each label stands alone (sigmoid).
    window_s, stride_s
        Length of a window and distance between windows in seconds.
    taxonomy
        Taxonomy id by label, e.g. ``audioset:/m/06by7``; may lack labels.
    thresholds
        Decision threshold by label as the bundle recommends; may be empty.
    background
        Labels that mean "none of the others"; a policy takes them for no opinion.
    """

    name: str
    version: str
    task: str
    labels: tuple[str, ...]
    exclusive: bool
    window_s: float
    stride_s: float
    digest: str = ""
    front_end_digest: str = ""
    taxonomy: Mapping[str, str] = field(default_factory=dict)
    thresholds: Mapping[str, float] = field(default_factory=dict)
    background: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Posterior:
    """A model's calibrated opinion of one window: ``values[i]`` is the probability of ``labels[i]``."""

    stream: str
    model: str
    labels: tuple[str, ...]
    values: FloatArray
    first_sample: int
    end_sample: int
    sample_rate: int
    level_dbfs: float


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a stream is to go on after a restart of the daemon, kept together with the events up to there.

    Attributes
    ----------
    stream, source
        Names of the stream and of the source that delivers it.
    state
        JSON values: the source's mark and what pipeline and policies remember; None: there is nothing to go on with, forget it.
    """

    stream: str
    source: str
    state: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Event:
    """What leaves on the bus, before the bus has numbered it.

    Attributes
    ----------
    kind
        E.g. ``genre.segment``; see the wire format.
    data
        JSON values only.
    sample
        Absolute index at which it happened, from which the pipeline derives ``time``; None where there is none.
    time
        Unix time in seconds; None until the pipeline stamped it, or where the audio carries no wall clock.
    """

    kind: str
    stream: str
    data: Mapping[str, Any]
    sample: int | None = None
    time: float | None = None
