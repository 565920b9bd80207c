"""What a worker can carry and what it has to: measured over its last seconds."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import accumulate, islice, pairwise, takewhile
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from streamcls.runtime.pace import Pace, StreamPace

__all__ = ["Gauge", "Load"]

_KEPT_S: Final = 5.0
"""What audio costs, and how much of it a stream brings, is measured over so long, so that the size of its chunks does not show."""
_MOST_RATE: Final = 1.05
"""A live stream brings a second of audio a second; what comes faster is a burst, and no lasting load."""
_BURST_RATE: Final = 1.5
"""A stream that has brought so much a second of late waits because of its own burst."""
_LEAST_TAKEN_S: Final = 0.2
"""Audio that has to be worked on before it is known what audio costs."""
_BEGINNING: Final = 3.0
"""So many times as long as those that follow takes a stream's first piece, roughly, until it is known what those take."""
_LATE_S: Final = 2.0
"""A look that comes so long after the one before it saw a process that stood still."""

_Key: TypeAlias = tuple[str, int]
"""A stream's name and its number among those that the worker took on."""


@dataclass(frozen=True, slots=True)
class Load:
    """A worker's load.

    Attributes
    ----------
    utilisation
        Share of the time for which it worked, 0 to 1. What it waits for a core or for the interpreter's lock counts as work: it
        cannot be used for anything else.
    cost
        Seconds of work on a second of audio, but for that in models and for what a stream's beginning takes.
    rates
        Seconds of audio a second that each live stream brings, by name, 0 to 1.05.
    lag_s
        The most audio that waits in a live stream, but for streams in a burst of their own.
    """

    utilisation: float
    cost: float
    rates: Mapping[str, float]
    lag_s: float

    def share_of(self, stream: StreamPace, stretch: int) -> float:
        """Return the share of a worker's time that a stream takes with a stretch."""
        return self.rates.get(stream.name, 0.0) * (self.cost + stream.model_share / stretch)

    def share(self, streams: Iterable[StreamPace], stretch: int) -> float:
        """Return the share that streams take together; above 1: more than a worker can do."""
        return sum(self.share_of(stream, stretch) for stream in streams)

    def fitting(self, streams: Sequence[StreamPace], limit: float, stretch: int) -> int:
        """Return how many of the first streams take at most that share of a worker's time together."""
        sums = accumulate((self.share_of(stream, stretch) for stream in streams), initial=0.0)
        return sum(1 for _ in takewhile(lambda share: share <= limit, islice(sums, 1, None)))


class Gauge:
    """Looks at a worker's pace from time to time, and remembers the last seconds."""

    def __init__(self) -> None:
        self._looks: deque[tuple[Pace, dict[_Key, StreamPace]]] = deque()
        self._late = self._known = False
        self._cost = 0.0

    def look(self, pace: Pace) -> Load | None:
        """Take a pace; return None where there is nothing to compare it with.

        That is so at the first one, and after the process stood still (SIGSTOP), when what was begun before took as long as that.
        """
        streams = {(one.name, one.opened): one for one in pace.streams}
        if self._looks and self._stood_still(pace.at - self._looks[-1][0].at):
            self._looks.clear()
        self._looks.append((pace, streams))
        if len(self._looks) == 1:
            return None
        while pace.at - self._looks[1][0].at >= _KEPT_S:
            self._looks.popleft()
        self._learn()
        rates = {name: self._rate(pace, (name, opened)) for (name, opened), one in streams.items() if one.live}
        waiting_s = (s.waiting_s for s in pace.streams if s.live and not s.shed and rates[s.name] <= _BURST_RATE)
        return Load(
            self._utilisation(),
            self._cost,
            {name: min(rate, _MOST_RATE) for name, rate in rates.items()},
            max(waiting_s, default=0.0),
        )

    def _stood_still(self, since_s: float) -> bool:
        """Whether a look comes late by itself; where all do, the machine is that busy."""
        late, self._late = self._late, since_s > _LATE_S
        return self._late and not late

    def _learn(self) -> None:
        """Find out what audio costs beside models; where hardly any was worked on, that is as it was."""
        first, last = self._looks[0][0], self._looks[-1][0]
        begun_s, taken_s = last.begun_s - first.begun_s, last.taken_s - first.taken_s
        if taken_s >= _LEAST_TAKEN_S:
            self._known = True
            self._cost = max(0.0, last.busy_s - first.busy_s - last.model_s + first.model_s - begun_s) / taken_s
        elif not self._known and (audio_s := last.live_taken_s - first.live_taken_s - taken_s) >= _LEAST_TAKEN_S:
            self._cost = begun_s / audio_s / _BEGINNING

    def _utilisation(self) -> float:
        """Return that since the last look, or since the one before where it is greater: a long piece of work counts where it ends."""
        last = self._looks[-1][0]
        before = [pace for pace, _ in islice(self._looks, max(0, len(self._looks) - 3), len(self._looks) - 1)]
        return min(1.0, max((last.busy_s - pace.busy_s) / (last.at - pace.at) for pace in before))

    def _rate(self, pace: Pace, key: _Key) -> float:
        """Return what a stream brought a second since the oldest look, or since the one before it was opened."""
        arrived_s = self._looks[-1][1][key].arrived_s
        first, streams = self._looks[0]
        if key in streams:
            return (arrived_s - streams[key].arrived_s) / (pace.at - first.at)
        before = next((earlier for (earlier, _), (_, known) in pairwise(self._looks) if key in known), first)
        return arrived_s / (pace.at - before.at)
