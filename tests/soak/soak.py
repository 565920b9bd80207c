"""Lets a daemon run for an hour in which nothing stays as it is, and looks at what that leaves behind.

Usage: python tests/soak/soak.py [--seconds 3600] [--stream-hours 500] [--reloads 200] [--reconnects 1000] [--rotations 10] [--out DIR]

Hundreds of streams of real audio over ZeroMQ and some growing files; meanwhile the configuration is reloaded, senders, streams,
files and subscribers come and go, and the journal drops its oldest events. Every few seconds memory, open files, threads and the daemon's
own figures go to a CSV. In the end it must have lost nothing, said nothing that is not true, and not have grown.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "plugins"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from daemon import free_port
from soaking.bank import RATE, AudioBank
from soaking.configuration import Knobs, Places, rendered
from soaking.feeder import Feeder, Lane
from soaking.figures import figures_of, verdict_of
from soaking.growing import GrowingFiles
from soaking.options import connections_of, parsed, quiet_s
from soaking.posted import Posted
from soaking.process import DaemonProcess, Reports
from soaking.reloads import Reloads
from soaking.sampler import Sampler
from soaking.slope import Slope
from soaking.unrest import Consumer, Unrest

from streamcls.service.control_path import ControlError

_START_S: Final = 60.0
_DRAIN_S: Final = 120.0
_TELL_S: Final = 60.0
_OVERTIME: Final = 2.5
"""A machine that is too slow for the audio may take so many times longer; then the run is given up."""
_LEAD: Final = 1.04
"""By how much faster than needed audio is sent."""


class Run:
    """One soak."""

    def __init__(self, options: Any) -> None:
        self.options = options
        self.folder: Path = options.out
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "state").mkdir(parents=True)
        print(f"decoding audio of {options.data} …", flush=True)
        self.bank = AudioBank(options.data, options.minutes, options.seed)
        self.posted = Posted()
        publish, ingest, air, late, prometheus = (free_port() for _ in range(5))
        self.places = Places(
            self.folder,
            options.models,
            publish=publish,
            ingest=ingest,
            air=air,
            late=late,
            prometheus=prometheus,
            webhook=self.posted.url,
            tails=options.tails,
            journal_mb=options.journal_mb,
            workers=options.workers,
        )
        self._copy_models()
        (self.folder / "extra.raw").write_bytes(self.bank.mono(0, 30 * RATE))
        self.config = self.folder / "soak.toml"
        self.config.write_text(rendered(self.places, Knobs()), encoding="utf-8")
        shutil.copy(self.config, self.folder / "truth.toml")
        self.quiet_s = quiet_s(options.seconds)
        probe = Path(__file__).with_name("counting_daemon.py") if options.probe else None
        self.files = GrowingFiles([self.folder / f"tail-{number}.raw" for number in range(options.tails)], self.bank)
        self.feeders = self._feeders()
        self.daemon = DaemonProcess(options.python, self.config, self.folder / "state", options.source, probe)
        endpoint = f"tcp://127.0.0.1:{self.places.publish}"
        self.reports = Reports(endpoint)
        self.consumer = Consumer(endpoint, self.folder)
        self.sampler = Sampler(self.folder / "samples.csv", self.daemon, self._extra, every_s=options.every)
        self._unrest_from: tuple[float, float] | None = None
        self.reloads = Reloads(
            self.daemon,
            self.reports,
            self.config,
            self.places,
            number=options.reloads,
            progress=self._progress,
            seed=options.seed,
        )
        self.unrest = Unrest(
            self.places, self.consumer, self.files, self.feeders, self.sampler,
            number=options.reconnects, progress=self._progress, seed=options.seed,
        )  # fmt: skip
        self.steady: list[Lane] = self.feeders["ingest"].connections[0].lanes
        self.exit_status: int | None = None
        self._tell_at = 0.0

    def _copy_models(self) -> None:
        """Two copies of a bundle that differ in their calibration, and one whose model is damaged."""
        for name in ("models-a", "models-b"):
            shutil.copytree(self.options.models / "moderation-cnn", self.folder / name / "moderation-cnn")
        manifest = self.folder / "models-b" / "moderation-cnn" / "bundle.toml"
        text = manifest.read_text(encoding="utf-8")
        manifest.write_text(text.replace("\ntemperature = ", "\ntemperature = 1", 1), encoding="utf-8")
        shutil.copytree(self.options.models / "moderation-cnn", self.folder / "damaged")
        model = self.folder / "damaged" / "model.tflite"
        model.write_bytes(model.read_bytes()[::-1])

    def _feeders(self) -> dict[str, Feeder]:
        connections = connections_of(self.options.streams, self.options.bare)
        number = sum(map(len, connections))
        speed = self.options.stream_hours * 3600 * _LEAD / self.options.seconds / number
        print(f"{number} streams at {speed:.2f} times real time", flush=True)
        air = [[Lane(f"air-{number}", 3 * number)] for number in range(4)]
        late = [[Lane(f"late-{number}", 9 * number) for number in range(2)]]

        def at(port: int) -> str:
            return f"tcp://127.0.0.1:{port}"

        return {
            "ingest": Feeder(at(self.places.ingest), self.bank, connections, speed=speed, chunk_s=self.options.chunk),
            "air": Feeder(at(self.places.air), self.bank, air, chunk_s=0.5, live=True),
            "late": Feeder(at(self.places.late), self.bank, late, chunk_s=0.5, live=True),
        }

    def _extra(self) -> dict[str, Any]:
        """What the harness adds to each sample."""
        sent_s = sum(feeder.sent_s for feeder in self.feeders.values()) + self.files.sent_s
        return {
            "sent_s": round(sent_s, 1),
            "behind_s": round(self.feeders["ingest"].behind_s, 2),
            "reconnects": self.unrest.reconnects,
        }

    def run(self) -> dict[str, Any]:
        """Live through it, and return the figures."""
        began = time.monotonic()
        self._await_start()
        for thread in (self.reports, self.sampler, self.files, *self.feeders.values()):
            thread.start()
        self.consumer.start()
        self._be_quiet("settling")
        self._be_quiet("before")
        self.sampler.phase = "unrest"
        if self.options.reloads and "reload" not in self.sampler.status:
            raise RuntimeError("this daemon tells nothing of reloads; --reloads 0 does without")
        self._unrest_from = time.monotonic(), self.sampler.audio.seconds
        for busy in (self.reloads, self.unrest):
            busy.start()
        while not self._enough(time.monotonic() - began):
            self._look()
            self._tell()
            time.sleep(1.0)
        for busy in (self.reloads, self.unrest):
            busy.halt()
        self.reloads.restore()
        self._be_quiet("after")
        self.sampler.phase = "end"
        seconds = time.monotonic() - began
        self._end()
        print("what was received is held against the truth …", flush=True)
        return figures_of(self, seconds)

    def close(self) -> None:
        """Leave nothing behind."""
        if self.exit_status is None:
            self.daemon.process.kill()
            self.exit_status = self.daemon.stop()
        self.consumer.end()
        self.posted.close()

    def _await_start(self) -> None:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            self._look(only_daemon=True)
            try:
                self.daemon.ask("ping")
                return
            except ControlError:
                time.sleep(0.2)
        raise RuntimeError(f"the daemon does not answer after {_START_S:g} s; see {self.daemon.log}")

    def _be_quiet(self, phase: str) -> None:
        self.sampler.phase = phase
        print(f"{phase} for {self.quiet_s:.0f} s", flush=True)
        until = time.monotonic() + self.quiet_s
        while time.monotonic() < until:
            self._look()
            time.sleep(0.5)

    def _progress(self) -> float:
        """How much of the unrest is over, by the clock or by the audio, whichever is behind."""
        if self._unrest_from is None:
            return 0.0
        began, had = self._unrest_from
        by_clock = (time.monotonic() - began) / max(10.0, self.options.seconds - 4 * self.quiet_s)
        by_audio = (self.sampler.audio.seconds - had) / max(1.0, self.options.stream_hours * 3600 - had)
        return float(min(by_clock, by_audio))

    def _enough(self, seconds: float) -> bool:
        options = self.options
        if seconds > _OVERTIME * options.seconds + 3 * self.quiet_s:
            raise RuntimeError(f"not done after {seconds:.0f} s; see {self.folder}/samples.csv")
        done = seconds >= options.seconds - self.quiet_s and self.sampler.audio.seconds >= options.stream_hours * 3600
        return done and not self.reloads.is_alive() and not self.unrest.is_alive()

    def _tell(self) -> None:
        """Say once a minute how far it is."""
        if not self.sampler.rows or time.monotonic() < self._tell_at:
            return
        self._tell_at = time.monotonic() + _TELL_S
        row = self.sampler.rows[-1]
        print(
            f"{row['t_s'] / 60:6.1f} min  {row['rss_kb'] // 1024} MiB  {row['files']} files  {row['threads']} threads  "
            f"{row.get('audio_s', 0.0) / 3600:.1f} stream-hours  {self.reloads.applied} reloads  {self.unrest.reconnects} reconnects  "
            f"{self.sampler.rotations.count} rotations  {len(self.reloads.failures) + len(self.unrest.failures)} failures",
            flush=True,
        )

    def _look(self, *, only_daemon: bool = False) -> None:
        """See whether all is well with everything that should run."""
        status = self.daemon.process.poll()
        if status is not None:
            raise RuntimeError(f"the daemon ended by itself with status {status}; see {self.daemon.log}")
        if only_daemon:
            return
        parts = (*self.feeders.values(), self.files, self.reloads, self.unrest)
        for name, failure in ((part.name, part.failure) for part in parts):  # type: ignore[attr-defined]
            if failure is not None:
                raise RuntimeError(f"{name} failed") from failure

    def _end(self) -> None:
        """End all streams, let everything arrive, and stop the daemon."""
        for feeder in self.feeders.values():
            feeder.end_all()
        self.files.halt()
        prefixes = {lane.name for feeder in self.feeders.values() for c in feeder.connections for lane in c.lanes}
        deadline = time.monotonic() + _DRAIN_S
        while time.monotonic() < deadline and prefixes & set(self.sampler.ask_now().get("streams", {})):
            time.sleep(0.5)
        self.sampler.halt()
        for feeder in self.feeders.values():
            feeder.halt()
        time.sleep(self.quiet_s / 3)  # what subscribers still have to take
        self.exit_status = self.daemon.stop()
        time.sleep(1.0)
        self.consumer.kill()
        self.reports.halt()


def main(arguments: list[str] | None = None) -> int:
    """Run, print the figures, draw the picture; return 1 where something is not as it must be."""
    from soaking.picture import draw

    options = parsed(arguments, __doc__ or "")
    run = Run(options)
    try:
        figures = run.run()
    except BaseException:
        print(run.daemon.log.read_text(errors="replace")[-4000:], file=sys.stderr)
        raise
    finally:
        run.close()
    wrong = verdict_of(figures, options)
    figures["wrong"] = wrong
    text = json.dumps(figures, indent=2, default=Slope.facts)
    (options.out / "soak.json").write_text(text + "\n", encoding="utf-8")
    print(text)
    memory = figures["memory"]
    draw(options.out / "soak.png", run.sampler.rows, memory["slope_kb_per_hour"], memory["second_half_from_s"])
    print("\n".join(f"WRONG  {text}" for text in wrong) or "all is well")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
