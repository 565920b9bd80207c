"""What is done where a worker has more audio than it can classify: windows further apart, then fewer streams; undone when there is room."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any, Final, Protocol

from streamcls.runtime.gauge import Gauge

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streamcls.config.schema import OverloadSettings
    from streamcls.runtime.gauge import Load
    from streamcls.runtime.pace import Pace, StreamPace

__all__ = ["Overload", "Paced"]

_log = logging.getLogger("streamcls.overload")

_LEAST_LOOK_S: Final = 0.5
"""Looks that come sooner than this after the one before tell nothing."""
_LOOKS: Final = 2
"""Looks in a row that have to show overload before anything is done."""
_BUSY: Final = 0.9
"""Share of its time for which an overloaded worker works."""
_FULL: Final = 0.95
"""Share of its time that what comes would take: from here on the lag does not go down."""
_NOT_FALLING: Final = 0.85
"""Of the lag at the look before: less is a burst that is being worked off."""
_TARGET: Final = 0.85
"""Share of its time that shall be taken after a step."""
_WORKED_OFF_S: Final = 8.0
"""What has piled up shall be worked off in so long: the more waits, the less may come."""
_ROOM: Final = 0.8
"""Share of its time that may be taken once a step has been undone: less than the target, so that nothing goes to and fro."""
_BUFFER_SHARE: Final = 0.4
"""Of the room for waiting audio: a lag of so much counts in any case, or nothing would be left to act in."""
_RELAPSE_S: Final = 60.0
_LONGEST_CALM_S: Final = 300.0
_MOST_NAMES: Final = 8
"""Streams that a line of the log names."""
_ALLOWED: Final = "configuration changed"


class Paced(Protocol):
    """What is asked of a worker."""

    @property
    def name(self) -> str:
        """Its name in the log and in heartbeats."""
        ...

    def pace(self) -> Pace:
        """Say how it fares."""
        ...

    def stretch(self, every: int, reason: str) -> None:
        """Classify only each how many-th window from now on."""
        ...

    def shed(self, names: Sequence[str], reason: str) -> None:
        """Give streams up for a while."""
        ...

    def restore(self, names: Sequence[str], reason: str) -> None:
        """Take streams up again."""
        ...


class Overload:
    """Looks at every worker from time to time and takes or undoes at most one step at each.

    It keeps a few figures of the last seconds for each worker and each of its streams, and has neither threads nor queues.

    Parameters
    ----------
    workers
        Looked up anew at each tick; one that takes the place of another begins anew.
    buffer_s
        Audio that a stream may wait for its worker, in seconds.
    """

    def __init__(self, settings: OverloadSettings, workers: Iterable[Paced], buffer_s: float = math.inf) -> None:
        self._settings = settings
        self._workers = workers
        self._buffer_s = buffer_s
        self._governors: dict[str, _Governor] = {}
        self._facts: dict[str, dict[str, Any]] = {}

    def tick(self) -> None:
        """Look; to be called about once a second, always from the same thread."""
        facts: dict[str, dict[str, Any]] = {}
        governors: dict[str, _Governor] = {}
        for worker in list(self._workers):
            known = self._governors.get(worker.name)
            same = known is not None and known.worker is worker
            governor = known if known is not None and same else _Governor(worker, self._settings, self._limit_s)
            governors[worker.name] = governor
            facts[worker.name] = governor.look()
        self._governors, self._facts = governors, facts

    def renew(self, settings: OverloadSettings) -> None:
        """Go over to other settings, from the thread that calls :meth:`tick`; what they do not allow any more ends with the next one."""
        self._settings = settings
        for governor in self._governors.values():
            governor.renew(settings, self._limit_s)

    @property
    def _limit_s(self) -> float:
        return min(self._settings.lag_s, _BUFFER_SHARE * self._buffer_s)

    def facts(self) -> dict[str, dict[str, Any]]:
        """Return by worker how it fared at the last tick; from any thread."""
        return {name: dict(facts) for name, facts in self._facts.items()}


class _Governor:
    """One worker, and what has been done to it."""

    def __init__(self, worker: Paced, settings: OverloadSettings, limit_s: float) -> None:
        self.worker = worker
        self.renew(settings, limit_s)
        self._gauge = Gauge()
        self._looked_at = self._helpless_at = -math.inf
        self._facts: dict[str, Any] = {}
        self._overloaded = 0
        self._lag_s = 0.0
        self._calm_since: float | None = None
        self._undone_at: float | None = None
        self._calm_s = 0.0
        self._priorities: dict[tuple[str, int], int] = {}

    def renew(self, settings: OverloadSettings, limit_s: float) -> None:
        """Go by these from now on."""
        self._settings, self._limit_s = settings, limit_s
        self._may_shed = settings.enabled and settings.shed
        self._most_stretch = settings.max_stretch if settings.enabled else 1

    def look(self) -> dict[str, Any]:
        """Measure, take or undo a step, and return the figures."""
        pace = self.worker.pace()
        if 0 <= pace.at - self._looked_at < _LEAST_LOOK_S:
            return self._facts
        self._looked_at = pace.at
        load = self._gauge.look(pace)
        if load is None:
            self._overloaded, self._calm_since = 0, None
        else:
            self._govern(pace, load)
        self._lag_s = pace.lag_s
        self._facts = _facts(pace, load)
        return self._facts

    def _govern(self, pace: Pace, load: Load) -> None:
        ranked = sorted((one for one in pace.streams if one.live), key=_rank)
        running = [one for one in ranked if not one.shed]
        shed = [one for one in ranked if one.shed]
        share = load.share(running, pace.stretch)
        self._overloaded = self._overloaded + 1 if self._is_overloaded(pace, load, share) else 0
        reordered = self._reordered(ranked)
        late = [one for one in running if shed and _rank(one) > _rank(shed[0])]
        if shed and not self._may_shed:
            self.worker.restore([one.name for one in shed], _ALLOWED)
        elif pace.stretch > self._most_stretch:
            self.worker.stretch(self._most_stretch, _ALLOWED)
        elif shed and reordered:
            self._rearrange(pace, load, ranked)
        elif late and len(late) < len(running):
            self._calm_since = None
            _log.info("%s gives up %s too, as others that come before it", self.worker.name, _names(late))
            self.worker.shed([one.name for one in late], "overload: streams that come before it are given up already")
        elif self._overloaded >= _LOOKS and self._settings.enabled:
            self._relieve(pace, load, running, share)
        else:
            self._ease(pace, load, running, shed)

    def _is_overloaded(self, pace: Pace, load: Load, share: float) -> bool:
        """Whether this look shows it: audio waits for long, the worker is busy all the time, and what comes lastingly would keep it so.

        Before anything has been done, the lag has to grow as well: streams that begin together cost more at first.
        """
        if pace.lag_s <= self._limit_s or load.utilisation <= _BUSY or share <= _FULL:
            return False
        return self._overloaded >= _LOOKS or pace.lag_s >= _NOT_FALLING * self._lag_s

    def _relieve(self, pace: Pace, load: Load, running: list[StreamPace], share: float) -> None:
        """Take the next step: windows further apart as far as that helps or may be, then fewer streams."""
        name = self.worker.name
        why = f"{name} is overloaded: it has {share:.1f} times the work that it can do, audio waits for up to {pace.lag_s:.1f} s"
        target = min(_TARGET, _FULL * _WORKED_OFF_S / (_WORKED_OFF_S + pace.lag_s))
        stretch = self._wanted_stretch(pace, load, running, target)
        kept = max(1, load.fitting(running, target, pace.stretch))
        if stretch > pace.stretch:
            self._stepped(pace)
            _log.warning("%s; only each %d. window is classified now", why, stretch)
            self.worker.stretch(stretch, f"overload: {name} has more work than it can do")
        elif self._may_shed and kept < len(running):
            self._stepped(pace)
            out = running[kept:]
            _log.warning("%s; %d of %d live streams are given up for now: %s", why, len(out), len(running), _names(out))
            reason = f"overload: {name} has more work than it can do, and the lowest priorities are given up first"
            self.worker.shed([one.name for one in out], reason)
        elif pace.at - self._helpless_at >= _LONGEST_CALM_S:
            self._helpless_at = pace.at
            _log.warning("%s; there is nothing left to give up, and what does not fit is lost", why)

    def _wanted_stretch(self, pace: Pace, load: Load, running: list[StreamPace], target: float) -> int:
        """Return the smallest stretch that is enough, else the greatest that is allowed."""
        stretch = pace.stretch
        while stretch * 2 <= self._most_stretch:
            stretch *= 2
            if load.share(running, stretch) <= target:
                break
        return stretch

    def _ease(self, pace: Pace, load: Load, running: list[StreamPace], shed: list[StreamPace]) -> None:
        """Undo the last step once there has been room for it for long enough."""
        factor, name = max(1, pace.stretch // 2), self.worker.name
        back = shed[: load.fitting(shed, _ROOM - load.share(running, pace.stretch), pace.stretch)]
        fits = bool(back) if shed else pace.stretch > 1 and load.share(running, factor) <= _ROOM
        if not fits or self._overloaded or load.lag_s > self._limit_s:
            self._calm_since = None
            return
        if self._calm_since is None:
            self._calm_since = pace.at
        if pace.at - self._calm_since < self._patience_s:
            return
        self._calm_since, self._undone_at = None, pace.at
        reason = f"there is room again at {name}"
        if shed:
            left = len(shed) - len(back)
            _log.warning(
                "%s has room again: %d live streams are taken up again, %d are not yet: %s",
                name, len(back), left, _names(back),
            )  # fmt: skip
            self.worker.restore([one.name for one in back], reason)
        else:
            which = "every window" if factor == 1 else f"each {factor}. window"
            _log.warning("%s has room again: %s is classified now", name, which)
            self.worker.stretch(factor, reason)

    @property
    def _patience_s(self) -> float:
        return max(self._calm_s, self._settings.calm_s)

    def _stepped(self, pace: Pace) -> None:
        """Note a step; one that comes soon after another was undone makes the next undoing wait for twice as long."""
        if self._undone_at is not None:
            since_s = pace.at - self._undone_at
            if since_s <= _RELAPSE_S:
                self._calm_s = min(2 * self._patience_s, max(_LONGEST_CALM_S, self._settings.calm_s))
            elif since_s > _LONGEST_CALM_S:
                self._calm_s = 0.0
        self._calm_since = self._undone_at = None

    def _reordered(self, ranked: list[StreamPace]) -> bool:
        """Whether the priority of a stream is another than at the look before: the configuration was read again."""
        before, self._priorities = self._priorities, {(one.name, one.opened): one.priority for one in ranked}
        return any(before.get(key, priority) != priority for key, priority in self._priorities.items())

    def _rearrange(self, pace: Pace, load: Load, ranked: list[StreamPace]) -> None:
        """Let as much go on as does now, in the new order."""
        allowed = load.share([one for one in ranked if not one.shed], pace.stretch)
        kept = max(1, load.fitting(ranked, allowed, pace.stretch))
        back = [one for one in ranked[:kept] if one.shed]
        out = [one for one in ranked[kept:] if not one.shed]
        if back or out:
            self._calm_since = None
            _log.warning("%s: priorities have changed; given up for now: %s; taken up again: %s",
                         self.worker.name, _names(out), _names(back))  # fmt: skip
            self.worker.shed([one.name for one in out], "overload: priorities have changed")
            self.worker.restore([one.name for one in back], "priorities have changed")


def _rank(stream: StreamPace) -> tuple[int, int]:
    """Return what streams are kept by: the greater priority first, among equals the one that was opened first."""
    return -stream.priority, stream.opened


def _names(streams: list[StreamPace]) -> str:
    more = len(streams) - _MOST_NAMES
    return (", ".join(one.name for one in streams[:_MOST_NAMES]) or "none") + (f" and {more} more" if more > 0 else "")


def _facts(pace: Pace, load: Load | None) -> dict[str, Any]:
    """Return the figures of one worker; ``realtime_factor`` compares what it can do with all live audio that comes, shed or not."""
    share = load.share((one for one in pace.streams if one.live), pace.stretch) if load is not None else 0.0
    return {
        "streams": len(pace.streams),
        "utilisation": None if load is None else round(load.utilisation, 3),
        "realtime_factor": round(1 / share, 2) if share > 0 else None,
        "lag_s": round(pace.lag_s, 3),
        "stride_factor": pace.stretch,
        "shed": sum(one.shed for one in pace.streams),
    }
