"""Breaks everything that can break, again and again, and counts what a consumer does not learn of.

Usage: python tests/chaos/chaos.py [--seconds 120] [--seed 1] [--streams 8] [--durability process] [--output FILE.json]

A daemon follows files that grow in real time; a consumer with a durable cursor follows the daemon through a relay. At random moments the
daemon or the consumer is killed (SIGKILL), the consumer is stopped (SIGSTOP) until its queues overflow, the connection is cut, alerts are
lost on the way, the daemon's disk is filled, its journal is damaged. In the end the very last alert is lost on the way. What an undisturbed
run over the same audio says is the truth: every alert of it must have reached the consumer, opened and closed, with the same data.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent / "support")]

import numpy as np
from daemon import Listener, free_port
from relay import Relay
from tone_daemon import prepared
from tones import EVERY_S, RATE, pieces, write_bundle, write_config

from streamcls.runtime.models import plan_stream
from streamcls.runtime.offline import OfflinePool, classify_chunks
from streamcls.types import Chunk, read_only

HERE = Path(__file__).resolve().parent
PIECE_S = 0.25
ALERTS_IN_A_LIFE = 20
DISK_MB = 48
SETTLE_S = 90.0
ACTIONS = {
    "kill the daemon": 6,
    "kill the consumer": 5,
    "stop the consumer": 1,
    "cut the connection": 2,
    "lose an alert": 3,
    "fill the disk": 1,
    "damage the journal": 1,
}
_IGNORED = ("started_at", "ended_at")


class Feeder(threading.Thread):
    """Appends to every stream's file in real time, like a recorder."""

    def __init__(self, folder: Path, streams: int, seed: int) -> None:
        super().__init__(name="feeder", daemon=True)
        self._paths = [folder / f"radio-{number}.raw" for number in range(streams)]
        self._pieces = [pieces(seed * 1000 + number, PIECE_S) for number in range(streams)]
        self._halt = threading.Event()
        self.written = [b""] * streams

    def run(self) -> None:
        """Write until halted, and then on to where every stream has been quiet for a while."""
        files = [path.open("ab", buffering=0) for path in self._paths]
        began, count = time.monotonic(), 0
        cycle = round(EVERY_S / PIECE_S)
        while not self._halt.is_set() or count % cycle:
            for file, source in zip(files, self._pieces, strict=True):
                file.write(next(source))
            count += 1
            time.sleep(max(0.0, began + count * PIECE_S - time.monotonic()))
        silence = bytes(2 * round(2 * EVERY_S * RATE))
        for file in files:
            file.write(silence)
            file.close()

    def halt(self) -> None:
        """Stop at the end of a stretch."""
        self._halt.set()
        self.join()


class Run:
    """One run of chaos."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder, self.options = folder, options
        self.random = random.Random(options.seed)
        self.port, self.relay_port = free_port(), free_port()
        write_bundle(folder)
        self.config = write_config(folder, port=self.port, streams=options.streams, durability=options.durability)
        self.state = folder / "state"
        self.state.mkdir()
        self.small_disk = self._mount()
        self.counts: Counter[str] = Counter()
        self.lives: list[int] = []
        self.daemon: subprocess.Popen[bytes] | None = None
        self.consumer: subprocess.Popen[bytes] | None = None
        self.relay = Relay(f"tcp://127.0.0.1:{self.port}", f"tcp://127.0.0.1:{self.relay_port}")
        self.listener: Listener | None = None
        self.feeder = Feeder(folder, options.streams, options.seed)

    def _mount(self) -> bool:
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(self.state)]
        result = subprocess.run(command, capture_output=True, check=False)
        if result.returncode:
            print(f"no small disk can be mounted here, so none is filled: {result.stderr.decode().strip()}")
        return not result.returncode

    def start_daemon(self) -> None:
        """Start it, with somebody who counts its alerts."""
        with (self.folder / "daemon.log").open("ab") as log:
            command = [sys.executable, str(HERE / "tone_daemon.py"), str(self.config)]
            self.daemon = subprocess.Popen(command, stdout=log, stderr=log)
        self.listener = Listener(f"tcp://127.0.0.1:{self.port}")
        self.listener.start()

    def kill_daemon(self) -> None:
        """End its life without a word."""
        assert self.daemon is not None
        assert self.listener is not None
        if self.daemon.poll() is not None:
            raise RuntimeError(
                f"the daemon ended by itself with status {self.daemon.returncode}; see {self.folder}/daemon.log"
            )
        self.daemon.kill()
        self.daemon.wait()
        self.lives.append(self.opened())
        self.listener.halt()

    def opened(self) -> int:
        """Alerts opened in this life so far."""
        assert self.listener is not None
        kind = "streamcls.moderation.alert"
        return sum(e["type"] == kind and e["data"]["phase"] == "opened" for e in list(self.listener.events))

    def live(self, alerts: int = ALERTS_IN_A_LIFE) -> None:
        """Let the daemon live until it has told of so many alerts."""
        deadline = time.monotonic() + 120
        while self.opened() < alerts:
            if time.monotonic() > deadline:
                raise RuntimeError(f"no {alerts} alerts within 120 s; see {self.folder}/daemon.log")
            time.sleep(0.05)

    def start_consumer(self) -> None:
        """Start it, or start it again."""
        with (self.folder / "consumer.log").open("ab") as log:
            endpoint = f"tcp://127.0.0.1:{self.relay_port}"
            command = [sys.executable, str(HERE / "consumer.py"), endpoint, str(self.folder)]
            self.consumer = subprocess.Popen(command, stdout=log, stderr=log)

    def kill_consumer(self) -> None:
        """End its life without a word."""
        assert self.consumer is not None
        if self.consumer.poll() is not None:
            raise RuntimeError(
                f"the consumer ended by itself with status {self.consumer.returncode}; see {self.folder}/consumer.log"
            )
        self.consumer.kill()
        self.consumer.wait()

    def act(self, action: str) -> None:
        """Do one thing that ought to do no harm."""
        {
            "kill the daemon": self._restart_daemon,
            "kill the consumer": self._restart_consumer,
            "stop the consumer": self._stop_consumer,
            "cut the connection": self._cut,
            "lose an alert": self._lose,
            "fill the disk": self._fill,
            "damage the journal": self._damage,
        }[action]()
        self.counts[action] += 1

    def _restart_daemon(self) -> None:
        self.live()
        time.sleep(self.random.uniform(0, 1))
        self.kill_daemon()
        time.sleep(self.random.uniform(0, 1))
        self.start_daemon()

    def _restart_consumer(self) -> None:
        time.sleep(self.random.uniform(0, 1))
        self.kill_consumer()
        time.sleep(self.random.uniform(0, 2))
        self.start_consumer()

    def _stop_consumer(self) -> None:
        assert self.consumer is not None
        self.consumer.send_signal(signal.SIGSTOP)
        time.sleep(self.random.uniform(12, 20))
        self.consumer.send_signal(signal.SIGCONT)

    def _cut(self) -> None:
        self.relay.cut()
        time.sleep(self.random.uniform(0.2, 5))
        self.relay.mend()

    def _lose(self) -> None:
        left = [self.random.randint(1, 5)]

        def drop(topic: bytes) -> bool:
            if not topic.startswith(b"moderation.alert/") or left[0] == 0:
                return False
            left[0] -= 1
            return True

        self.relay.drop = drop
        time.sleep(self.random.uniform(1, 3))

    def _fill(self) -> None:
        filler = self.state / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))
        with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(512))
        time.sleep(self.random.uniform(3, 8))
        if self.random.random() < 0.5:
            self.live()
            self.kill_daemon()  # with a disk that is still full
            self.start_daemon()
            time.sleep(3)
        filler.unlink()

    def _damage(self) -> None:
        """While nobody is behind: what the consumer has not asked for yet would be gone for good, and that is stated."""
        self.live()
        self._let_catch_up()
        self.kill_daemon()
        path = self.state / "journal.sqlite3"
        raw = bytearray(path.read_bytes())
        for _ in range(self.random.randint(1, 20)):
            page = self.random.randrange(max(1, len(raw) // 4096))
            at = page * 4096 + self.random.randrange(4096)
            raw[at : at + 16] = self.random.randbytes(len(raw[at : at + 16]))
        if self.random.random() < 0.3:
            raw[:100] = self.random.randbytes(100)
        path.write_bytes(raw)
        self.start_daemon()

    def _let_catch_up(self) -> None:
        """Stop the daemon at a moment at which the consumer has every alert that was published."""
        assert self.daemon is not None
        deadline = time.monotonic() + SETTLE_S
        while time.monotonic() < deadline:
            self.daemon.send_signal(signal.SIGSTOP)
            time.sleep(0.5)  # what is under way arrives
            if self._published() <= self._received():
                return
            self.daemon.send_signal(signal.SIGCONT)
            time.sleep(1.0)
        raise RuntimeError(f"the consumer did not catch up within {SETTLE_S:g} s; see {self.folder}/consumer.log")

    def _published(self) -> set[tuple[str, str]]:
        assert self.listener is not None
        alerts = (e["data"] for e in list(self.listener.events) if e["type"] == "streamcls.moderation.alert")
        return {(data["id"], data["phase"]) for data in alerts}

    def _received(self) -> set[tuple[str, str]]:
        found = set()
        for line in (self.folder / "received.jsonl").read_bytes().split(b"\n"):
            with contextlib.suppress(ValueError, KeyError):
                data = json.loads(line)["data"]
                found.add((data["id"], data["phase"]))
        return found

    def run(self) -> dict[str, Any]:
        """Live through it, and return the figures."""
        began = time.monotonic()
        self.relay.start()
        self.feeder.start()
        self.start_daemon()
        self.start_consumer()
        actions = [name for name in ACTIONS if name != "fill the disk" or self.small_disk]
        due = list(actions)
        while time.monotonic() - began < self.options.seconds:
            action = due.pop(0) if due else self.random.choices(actions, [ACTIONS[name] for name in actions])[0]
            print(f"{time.monotonic() - began:7.1f} s  {action}", flush=True)
            self.act(action)
        self.live()
        self.feeder.halt()
        self._lose_the_last()
        figures = self._settle()
        figures["seconds"] = round(time.monotonic() - began)
        return figures

    def _lose_the_last(self) -> None:
        """Lose every alert event that comes from here on, so that none that follows tells of it."""
        self.relay.drop = lambda topic: topic.startswith(b"moderation.alert/")
        time.sleep(3 * EVERY_S)
        self.counts["lose the very last alert"] += 1
        self.relay.drop = lambda _: False

    def _settle(self) -> dict[str, Any]:
        truth = self._truth()
        deadline = time.monotonic() + SETTLE_S
        while True:
            figures = self._compare(truth)
            if not figures["missing"] or time.monotonic() > deadline:
                break
            time.sleep(1.0)
        self.kill_consumer()
        assert self.daemon is not None
        self.daemon.terminate()
        self.daemon.wait(30)
        self.lives.append(self.opened())
        self.relay.halt()
        figures["alerts in each life"] = {"least": min(self.lives), "most": max(self.lives), "lives": len(self.lives)}
        return figures

    def _truth(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Return what an undisturbed run says: the data of each alert by id and phase."""
        made = prepared(self.config)
        pool, found = OfflinePool(), {}
        for number in range(self.options.streams):
            stream = f"radio-{number}"
            raw = np.frombuffer((self.folder / f"{stream}.raw").read_bytes(), "<i2")
            samples = read_only((raw / np.float32(32_768)).astype(np.float32)[:, None])
            plan = plan_stream(made.resolved, made.models, stream)
            assert plan is not None
            chunks = (
                Chunk(stream, read_only(samples[at : at + RATE].copy()), RATE, at)
                for at in range(0, len(samples), RATE)
            )
            for event in classify_chunks(stream, chunks, plan, pool):
                if event.kind == "moderation.alert":
                    found[event.data["id"], event.data["phase"]] = dict(event.data)
        pool.close()
        return found

    def _compare(self, truth: dict[tuple[str, str], dict[str, Any]]) -> dict[str, Any]:
        received: dict[tuple[str, str], list[dict[str, Any]]] = {}
        losses: Counter[str] = Counter()
        events, replayed = 0, 0
        for line in (self.folder / "received.jsonl").read_bytes().split(b"\n"):
            if not line.strip():
                continue
            try:
                fact = json.loads(line)
            except ValueError:
                continue  # the consumer was killed while it wrote this line; it gets the event again
            if "loss" in fact:
                losses[f"{fact['loss']}: {str(fact['topic']).partition('/')[0]}"] += 1
            elif fact["type"] == "streamcls.moderation.alert":
                events += 1
                replayed += fact["replayed"]
                received.setdefault((fact["data"]["id"], fact["data"]["phase"]), []).append(fact["data"])
        missing = [key for key in truth if key not in received]
        wrong = [key for key, found in received.items() if key[1] != "updated" and key not in truth]
        # A checkpoint that is lost with a damaged journal: what was open is closed for that reason, and then the stream is heard again.
        given_up = {
            key: [one for one in found if one.get("reason") == "daemon_lost"]
            for key, found in received.items()
            if key[1] == "closed"
        }
        different = [
            key
            for key, found in received.items()
            if key in truth
            and any(_plain(one) != _plain(truth[key]) for one in found if one not in given_up.get(key, []))
        ]
        never_rightly = [key for key, found in given_up.items() if key in truth and len(found) == len(received[key])]
        twice = sum(len(found) - 1 for key, found in received.items() if key[1] != "updated")
        return {
            "alerts": sum(phase == "opened" for _, phase in truth),
            "alerts in each life": {},
            "alert events received": events,
            "of these replayed": replayed,
            "missing": len(missing) + len(never_rightly),
            "said that are not true": len(wrong),
            "said otherwise than in an undisturbed run": len(different),
            "said again with the same id": twice,
            "of these closed as daemon_lost": sum(map(len, given_up.values())),
            "losses reported to the consumer": dict(losses),
            "messages lost by the relay": self.relay.dropped,
            "actions": dict(self.counts),
            "examples": [str(key) for key in (missing + never_rightly + wrong + different)[:5]],
        }

    def close(self) -> None:
        """Leave nothing behind."""
        for process in (self.daemon, self.consumer):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
        if self.small_disk:
            subprocess.run(["umount", str(self.state)], check=False)


def _plain(data: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name not in _IGNORED}


def main() -> int:
    """Run, print the figures, and return 1 where something was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--durability", choices=["process", "power"], default="process")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--folder", type=Path, help="Keep everything here instead of in a temporary folder.")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        run = Run(folder, options)
        try:
            figures = run.run()
        except BaseException:
            for name in ("daemon.log", "consumer.log"):
                with contextlib.suppress(OSError):
                    print(f"--- {name}\n{(folder / name).read_text(errors='replace')[-4000:]}", file=sys.stderr)
            raise
        finally:
            run.close()
    print(json.dumps(figures, indent=2))
    if options.output:
        options.output.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    bad = ("missing", "said that are not true", "said otherwise than in an undisturbed run")
    return 1 if any(figures[name] for name in bad) else 0


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.exit(main())
