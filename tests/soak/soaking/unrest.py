"""Everything that comes and goes: senders, streams, files, subscribers, strangers."""

from __future__ import annotations

import contextlib
import random
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import zmq

from streamcls.bus.client import EventClient
from streamcls.errors import StreamclsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from soaking.configuration import Places
    from soaking.feeder import Feeder
    from soaking.growing import GrowingFiles
    from soaking.sampler import Sampler

__all__ = ["Consumer", "Unrest"]

_CONSUMER: Final = Path(__file__).with_name("consumer.py")
_TAKEN_S: Final = 120.0
_ASK_S: Final = 1.0
_LOOK_S: Final = 0.1
_NAMES: Final = 48
"""Names under which streams that begin anew go, in turn."""
_GARBAGE: Final = 4_096
_SCRAPE_S: Final = 10.0
_LEAVES: Final = "a sender leaves and comes back"
WEIGHTS: Final = {
    _LEAVES: 24,
    "a sender breaks off and comes back": 15,
    "a live sender leaves and comes back": 6,
    "a stream ends and another begins": 20,
    "a file is truncated": 8,
    "a file is replaced": 6,
    "a subscriber comes and goes": 12,
    "a subscriber takes nothing and goes": 4,
    "the consumer is killed and comes back": 3,
    "a stranger sends garbage": 6,
    "metrics are fetched": 6,
}
RECONNECTS: Final = frozenset(WEIGHTS) - {"a stranger sends garbage", "metrics are fetched"}
"""Of these, what counts as a reconnect."""


class Consumer:
    """The subscriber with a cursor, as a process that may be killed."""

    def __init__(self, endpoint: str, folder: Path) -> None:
        self._command = [sys.executable, str(_CONSUMER), endpoint, str(folder)]
        self._log = folder / "consumer.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, or start it again."""
        source = Path(__file__).resolve().parents[3]
        env = {"PYTHONPATH": f"{source}:{source / 'plugins'}", "PATH": "/usr/bin:/bin"}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, env=env)

    def end(self) -> None:
        """See that it runs no longer."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def kill(self) -> None:
        """End it without a word.

        Raises
        ------
        RuntimeError
            It had ended by itself.
        """
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"the consumer ended by itself with status {self._process.returncode}; see {self._log}")
        self._process.kill()
        self._process.wait()


class Unrest(threading.Thread):
    """Does one such thing after the other, evenly spread over the run, of which ``progress`` tells from 0 to 1.

    Attributes
    ----------
    counts
        How often what was done.
    slow
        Senders that came back before everything of theirs was taken, because that took too long.
    failures
        What did not work, as sentences.
    """

    def __init__(
        self,
        places: Places,
        consumer: Consumer,
        files: GrowingFiles,
        feeders: dict[str, Feeder],
        sampler: Sampler,
        *,
        number: int,
        progress: Callable[[], float],
        seed: int,
    ) -> None:
        super().__init__(name="unrest", daemon=True)
        self.counts: Counter[str] = Counter()
        self.slow = 0
        self.failures: list[str] = []
        self.failure: BaseException | None = None
        self._places, self._consumer, self._files, self._feeders, self._sampler = (
            places,
            consumer,
            files,
            feeders,
            sampler,
        )
        share = sum(WEIGHTS[name] for name in RECONNECTS) / sum(WEIGHTS.values())
        self._number, self._progress = round(number / share * 1.05) + 1, progress
        self._away: dict[int, float] = {}
        self._asked_at = 0.0
        self._random = random.Random(seed)
        self._halt = threading.Event()
        self._begun_streams = 0
        self._actions: dict[str, Callable[[], None]] = {
            _LEAVES: self._leave,
            "a sender breaks off and comes back": self._break_off,
            "a live sender leaves and comes back": self._leave_live,
            "a stream ends and another begins": self._begin_another,
            "a file is truncated": lambda: self._files.truncate(self._any_file()),
            "a file is replaced": lambda: self._files.replace(self._any_file()),
            "a subscriber comes and goes": self._come_and_go,
            "a subscriber takes nothing and goes": self._take_nothing,
            "the consumer is killed and comes back": self._kill_consumer,
            "a stranger sends garbage": self._send_garbage,
            "metrics are fetched": self._scrape,
        }

    @property
    def reconnects(self) -> int:
        """How many reconnects there were."""
        return sum(count for name, count in list(self.counts.items()) if name in RECONNECTS)

    def run(self) -> None:
        """Go on until there was enough, or halted."""
        names, weights = list(WEIGHTS), list(WEIGHTS.values())
        try:
            for number in range(1, self._number + 1):
                while self._progress() < number / (self._number + 1):
                    if self._halt.wait(_LOOK_S):
                        return
                    self._welcome_back()
                self._welcome_back()
                action = self._random.choices(names, weights)[0]
                while action == _LEAVES and not self._here():
                    action = self._random.choices(names, weights)[0]
                try:
                    self._actions[action]()
                except (StreamclsError, OSError) as error:
                    self.failures.append(f"{action}: {type(error).__name__}: {error}")
                else:
                    self.counts[action] += 1
            while self._away and not self._halt.wait(_LOOK_S):
                self._welcome_back()
        except BaseException as error:
            self.failure = error
            raise

    def halt(self) -> None:
        """End after the action at hand."""
        self._halt.set()
        self.join(_TAKEN_S)

    def _any_file(self) -> int:
        return self._random.randrange(len(self._files.paths))

    def _leave(self) -> None:
        """Close a connection in order, to come back on another once all of it was taken: nothing may be missing."""
        feeder = self._feeders["ingest"]
        number = self._random.choice(self._here())
        feeder.disconnect(feeder.connections[number])
        self._away[number] = time.monotonic()

    def _here(self) -> list[int]:
        """Return the numbers of the senders that are not away."""
        return [number for number in range(len(self._feeders["ingest"].connections) - 1) if number not in self._away]

    def _welcome_back(self) -> None:
        """Connect the senders that are away and of which everything was taken; looks at most once a second."""
        now = time.monotonic()
        if not self._away or now - self._asked_at < _ASK_S:
            return
        self._asked_at = now
        feeder = self._feeders["ingest"]
        streams = self._sampler.ask_now().get("streams", {})
        for number, since in list(self._away.items()):
            connection = feeder.connections[number]
            taken = all(streams.get(lane.name, {}).get("next_sample", 0) >= lane.index for lane in connection.lanes)
            if taken or now - since > _TAKEN_S:
                self.slow += not taken
                feeder.connect(connection)
                del self._away[number]

    def _break_off(self) -> None:
        """Break the last connection, whose streams are allowed to lose what was under way."""
        feeder = self._feeders["ingest"]
        feeder.disconnect(feeder.connections[-1], rudely=True)
        feeder.connect(feeder.connections[-1])

    def _leave_live(self) -> None:
        feeder = self._feeders[self._random.choice(["air", "late"])]
        connection = self._random.choice(feeder.connections)
        feeder.disconnect(connection)
        self._halt.wait(self._random.uniform(0.0, 2.0))
        feeder.connect(connection)

    def _begin_another(self) -> None:
        feeder = self._feeders["ingest"]
        pairs = [(c, lane) for c in feeder.connections for lane in c.lanes if lane.name.startswith("turn-")]
        connection, lane = self._random.choice([pair for pair in pairs if pair[0].socket is not None] or pairs)
        while True:
            self._begun_streams += 1
            name = f"turn-{self._begun_streams % _NAMES}"
            if all(other.name != name for _, other in pairs):
                break
        feeder.replace(connection, lane, name, self._random.randrange(60))

    def _come_and_go(self) -> None:
        begin = self._random.choice(["now", "snapshot", "first"])
        kinds = ["moderation.alert"] if begin == "first" else ["moderation.alert", "stream.status"]
        with EventClient(self._endpoint, kinds=kinds, name="guest", begin=begin) as client:  # type: ignore[arg-type]
            for _ in client.synchronise(10.0):
                if self._halt.is_set():
                    return

    def _take_nothing(self) -> None:
        with zmq.Context() as context, context.socket(zmq.SUB) as subscriber:
            subscriber.linger = 0
            subscriber.connect(self._endpoint)
            subscriber.subscribe("")
            self._halt.wait(self._random.uniform(0.1, 3.0))

    def _kill_consumer(self) -> None:
        self._consumer.kill()
        self._halt.wait(self._random.uniform(0.0, 3.0))
        self._consumer.start()

    def _send_garbage(self) -> None:
        """Be somebody who speaks something else, or begins to speak and goes."""
        ports = [self._places.ingest, self._places.air, self._places.publish, self._places.publish + 1]
        with socket.create_connection(("127.0.0.1", self._random.choice(ports)), 5.0) as stranger:
            greeting = b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x01NULL" if self._random.random() < 0.5 else b""
            with contextlib.suppress(OSError):  # it may be shown the door at any moment
                stranger.sendall(greeting + self._random.randbytes(self._random.randint(1, _GARBAGE)))

    def _scrape(self) -> None:
        for path in ("metrics", "healthz"):
            url = f"http://127.0.0.1:{self._places.prometheus}/{path}"
            with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(url, timeout=_SCRAPE_S) as answer:
                answer.read()

    @property
    def _endpoint(self) -> str:
        return f"tcp://127.0.0.1:{self._places.publish}"
