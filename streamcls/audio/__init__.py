"""From bytes and chunks to a continuous mono signal with absolute sample indices."""

from __future__ import annotations

from streamcls.audio.meter import Meter
from streamcls.audio.pcm import decode_pcm, down_mix, encode_pcm
from streamcls.audio.resample import Resampler
from streamcls.audio.ring import Run, SampleRing

__all__ = ["Meter", "Resampler", "Run", "SampleRing", "decode_pcm", "down_mix", "encode_pcm"]
