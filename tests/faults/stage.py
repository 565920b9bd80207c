"""A real daemon to which things happen: its configuration, its audio, its log, its events, and those who ask how it is."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "chaos"))

from daemon import Listener, free_port
from feeding import PIECE_S, RATE, Tape, Wire, frames_of
from tones import FREQUENCIES_HZ, write_bundle

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["AS_ANYBODY", "LONG_S", "PIECE_S", "RATE", "STRIDE", "Asked", "Seen", "Stage", "Tape", "Wire", "frames_of"]

TOOL = Path(__file__).resolve().parent / "tool.py"
LONG_S = 60.0
AS_ANYBODY = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
"""Root without the right to pass over permissions: they are checked as for anybody."""
STRIDE = 8 * 128
"""Samples from window to window of the bundle."""
_CLOCK = len("2026-11-22 00:00:00 ")
"""What a line of the log begins with."""
_RULE = "labels.{label} = {{ k = 2, n = 3, enter = 0.6, cool_down_s = 0.5 }}\n"
_TAPE = """
[[source]]
name = "{name}"
type = "filetail"
path = "{path}"
start = "resume"
poll_s = 0.05
format = {{ sample_rate = 8000, channels = 1, encoding = "pcm_s16le" }}
"""
_WIRE = """
[[source]]
name = "wire"
type = "zmq"
bind = ["tcp://127.0.0.1:{port}"]
idle_s = 2.0
"""
_CONFIG = """\
[daemon]
name = "studio"
state_dir = "{state}"
heartbeat_s = 0.5
workers = 2
retry_s = 0.5
retry_max_s = 1.0
{daemon}
[bus]
publish = ["tcp://127.0.0.1:{publish}"]

[models]
path = ["{models}"]

[model.tones]
backend = "{backend}"

[policy.moderation]
{rules}{streams}
[[stream]]
models = ["tones"]
policies = ["moderation"]
{sources}{more}"""


@dataclass
class Asked:
    """What a command said: its exit status and its words."""

    exit: int
    text: str
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def wrong(self) -> list[str]:
        return list(self.facts.get("wrong", []))


@dataclass
class Seen:
    """What came of a fault.

    Attributes
    ----------
    fault, injected, lost, recovers
        Sentences for people.
    log, events, status, doctor
        What the operator sees, word for word.
    exits
        Exit statuses by command.
    others
        What the streams that the fault did not concern lost.
    """

    fault: str
    injected: str
    log: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    status: list[str] = field(default_factory=list)
    doctor: list[str] = field(default_factory=list)
    exits: dict[str, int] = field(default_factory=dict)
    lost: str = ""
    recovers: str = ""
    others: str = ""


class Stage:
    """One daemon in a folder, started with :meth:`start`.

    Parameters
    ----------
    folder
        Everything lies in here; the state in ``state``.
    sources, more, streams, daemon
        Further TOML: sources, tables at the end, ``[[stream]]`` entries before the one for all, keys of ``[daemon]`` (so that a busy
        machine drops nothing that is live).
    backend
        ``matrix``, or ``slow``, with which each window takes :data:`tool.SLOW_S`.
    tapes
        Names of followed files; ``wire`` says whether audio comes over the ingest port as well.
    prefix
        A command that runs the daemon, such as ``setpriv``.
    """

    def __init__(
        self,
        folder: Path,
        *,
        sources: str = "",
        more: str = "",
        streams: str = "",
        backend: str = "matrix",
        daemon: str = "buffer_s = 30.0",
        tapes: Sequence[str] = ("tape",),
        wire: bool = True,
        prefix: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        if prefix == AS_ANYBODY and os.geteuid():
            prefix = ()  # who is not root is anybody already
        self.folder, self.state = folder, folder / "state"
        self.state.mkdir(exist_ok=True)
        self.port, self.ingest_port = free_port(), free_port()
        self.bundle = write_bundle(folder)
        self.prefix, self.env = list(prefix), {**os.environ, **(env or {})}
        self.tapes = {name: Tape(folder / f"{name}.raw", seed) for seed, name in enumerate(tapes)}
        self.wire = Wire(self.ingest_port, 99) if wire else None
        own = "".join(_TAPE.format(name=name, path=tape.path) for name, tape in self.tapes.items())
        own += _WIRE.format(port=self.ingest_port) if wire else ""
        self.config = folder / "studio.toml"
        text = _CONFIG.format(
            state=self.state,
            daemon=daemon,
            publish=self.port,
            models=folder / "models",
            rules="".join(_RULE.format(label=label) for label in FREQUENCIES_HZ),
            sources=own + sources,
            streams=streams,
            backend=backend,
            more=more,
        )
        self.config.write_text(text, encoding="utf-8")
        self.log_path = folder / "daemon.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.listener = Listener(f"tcp://127.0.0.1:{self.port}")
        self._files = [self.log_path.open("ab")]
        self._feeding = False

    def start(self, *, feed: bool = True) -> None:
        """Start the daemon, and what it hears."""
        command = [*self.prefix, sys.executable, str(TOOL), "run", str(self.config)]
        self.process = subprocess.Popen(command, stdout=self._files[0], stderr=self._files[0], env=self.env)
        if not self.listener.is_alive():
            self.listener.start()
        if feed:
            self.start_feeding()

    def start_feeding(self) -> None:
        """Let the audio come, where it does not yet."""
        if not self._feeding:
            self._feeding = True
            for feeder in self._feeders():
                feeder.start()

    def settle(self) -> None:
        """Wait until every witness has been heard for a while."""
        for name in self.witnesses:
            self.hear(name)

    @property
    def witnesses(self) -> list[str]:
        return [*self.tapes, *(["wire"] if self.wire is not None else [])]

    def _feeders(self) -> list[Tape | Wire]:
        return [*self.tapes.values(), *([self.wire] if self.wire is not None else [])]

    def windows(self, stream: str) -> list[int]:
        """Return the first sample of each window so far."""
        return [event["data"]["first_sample"] for event in self.listener.of("moderation.window", stream)]

    def hear(self, stream: str, more: int = 8) -> None:
        """Wait for so many more windows of a stream."""
        before = len(self.windows(stream))
        self.until(lambda: len(self.windows(stream)) >= before + more, f"{more} more windows of {stream}")

    def until(self, condition: Callable[[], bool], what: str, within_s: float = LONG_S) -> None:
        """Wait for something that must happen."""
        deadline = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}\n{self.tail()}"
            time.sleep(0.05)

    def lines(self) -> list[str]:
        return self.log_path.read_text("utf-8", errors="replace").splitlines()

    def tail(self) -> str:
        return "\n".join(self.lines()[-30:])

    def line(self, *words: str, after: int = 0) -> str:
        """Wait for a line of the log with all these words in it, and return it without its time."""
        found: list[str] = []

        def look() -> bool:
            found[:] = [line for line in self.lines()[after:] if all(word in line for word in words)]
            return bool(found)

        self.until(look, f"a line with {words}")
        return found[0][_CLOCK:]

    def event(self, kind: str, subject: str, **data: object) -> str:
        """Wait for an event whose data begin like this, and return it as one line."""
        found: list[dict[str, Any]] = []

        def fits(event: dict[str, Any]) -> bool:
            return all(str(event["data"].get(key, "")).startswith(str(value)) for key, value in data.items())

        def look() -> bool:
            found[:] = [event for event in self.listener.of(kind, subject) if fits(event)]
            return bool(found)

        self.until(look, f"{kind} of {subject} with {data}")
        told = {key: found[0]["data"].get(key) for key in (*data, "reason") if key in found[0]["data"]}
        return f"{kind} {subject} {json.dumps(told, ensure_ascii=False)}"

    def beat(self) -> dict[str, Any]:
        """Return the data of the next heartbeat."""
        before = len(self.listener.of("daemon.heartbeat", "studio"))
        self.until(lambda: len(self.listener.of("daemon.heartbeat", "studio")) > before, "a heartbeat")
        return dict(self.listener.of("daemon.heartbeat", "studio")[-1]["data"])

    def tool(self, *arguments: str, prefixed: bool = False, timeout_s: float = LONG_S) -> Asked:
        """Run a command of ``streamcls``."""
        command = [*(self.prefix if prefixed else ()), sys.executable, str(TOOL), *arguments]
        result = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=self.env,
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        asked = Asked(result.returncode, result.stdout + result.stderr)
        with suppress(ValueError):
            asked.facts = json.loads(result.stdout)
        return asked

    def status(self, *words: str) -> Asked:
        """Ask ``streamcls status`` until it says, among what is wrong, all of these words; without any, until all is well."""
        deadline = time.monotonic() + LONG_S
        while True:
            asked = self.tool("status", str(self.config), "--json")
            told = "\n".join(asked.wrong)
            if (asked.exit == 1 and all(word in told for word in words)) if words else asked.exit == 0:
                return asked
            assert time.monotonic() < deadline, (
                f"status says {asked.exit}: {asked.text[:1500]}; expected {words}\n{self.tail()}"
            )
            time.sleep(0.2)

    def doctor(self, *areas: str, prefixed: bool = False) -> tuple[int, list[str]]:
        """Ask ``streamcls doctor``: its exit status, and the warnings and problems of these areas."""
        only = [word for area in areas for word in ("--only", area)]
        asked = self.tool("doctor", str(self.config), "--brief", "--json", *only, prefixed=prefixed)
        findings = asked.facts.get("findings", []) if isinstance(asked.facts, dict) else []
        return asked.exit, [f"{one['level']}  {one['area']}: {one['what']} ({one['hint']})" for one in findings]

    def witnessed(self, *, but: Sequence[str] = ()) -> str:
        """Check that the streams besides those lost not one window, and say so."""
        told = []
        for name in self.witnesses:
            if name in but:
                continue
            self.hear(name)
            found = self.windows(name)
            steps = {b - a for a, b in itertools.pairwise(found)}
            assert steps == {STRIDE}, f"{name} has holes: {sorted(steps)}\n{self.tail()}"
            told.append(f"`{name}` {len(found)} windows, samples {found[0]} to {found[-1]} without a hole")
        lives = {event["epoch"] for event in list(self.listener.events)}
        assert len(lives) > 1 or self.listener.holes == 0
        return "; ".join(told)

    def stop(self) -> int:
        """Stop it in order; return its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LONG_S)

    def wait(self) -> int:
        """Wait for its end; return its exit status."""
        assert self.process is not None
        return self.process.wait(LONG_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait(10)
        if self._feeding:
            for feeder in self._feeders():
                feeder.halt()
        if self.listener.is_alive():
            self.listener.halt()
        for file in self._files:
            file.close()
