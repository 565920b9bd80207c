"""From posteriors to decisions: smoothing, voting, and the life of segments and alerts."""

from __future__ import annotations

from streamcls.decision.labels import LabelMap
from streamcls.decision.maps import READY_MAPS, MapSetting, label_map, ready_map
from streamcls.decision.smoothing import MovingAverage
from streamcls.decision.tracker import Finding, finding_id
from streamcls.decision.voting import KOfN

__all__ = [
    "READY_MAPS",
    "Finding",
    "KOfN",
    "LabelMap",
    "MapSetting",
    "MovingAverage",
    "finding_id",
    "label_map",
    "ready_map",
]
