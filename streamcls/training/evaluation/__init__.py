"""Measuring models on clips: tracks of posteriors, figures with intervals, several models side by side.

Nothing here needs TensorFlow but ``quantised``. Events on long programmes, made by the daemon's own pipeline, are measured in a
module of their own beside these; a comparison's figures have room for them under ``events``.
"""

from __future__ import annotations

__all__: list[str] = []
