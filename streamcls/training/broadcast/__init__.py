"""What broadcasting does to a waveform: chains of studio, channel and codec, drawn at random and repeatable."""

from __future__ import annotations

from streamcls.training.broadcast.chain import Chain, Stage, draw_chain, process
from streamcls.training.broadcast.speed import change_pitch, change_speed, change_tempo
from streamcls.training.broadcast.stages import STAGES

__all__ = ["STAGES", "Chain", "Stage", "change_pitch", "change_speed", "change_tempo", "draw_chain", "process"]
