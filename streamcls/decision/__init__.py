"""From posteriors to decisions: smoothing, voting, and the life of segments and alerts."""

from __future__ import annotations

from streamcls.decision.labels import LabelMap
from streamcls.decision.smoothing import MovingAverage
from streamcls.decision.tracker import Finding, finding_id
from streamcls.decision.voting import KOfN

__all__ = ["Finding", "KOfN", "LabelMap", "MovingAverage", "finding_id"]
