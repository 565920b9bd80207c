"""The subscriber: chooses events, keeps them in its outbox and has the command run for each."""

from __future__ import annotations

import json
import logging
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from streamcls.bus.deadletters import DeadLetters
from streamcls.bus.delivery import Delivery, Outcome, Patience
from streamcls.bus.outbox import Outbox
from streamcls_exec.command import Limits, run_command
from streamcls_exec.config import ExecConfig, state_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamcls.bus.delivery import Timing
    from streamcls_exec.command import Result

__all__ = ["ExecSubscriber"]

_log = logging.getLogger("streamcls.subscriber.exec")

_PATH: Final = "/usr/local/bin:/usr/bin:/bin"
_EXCERPT: Final = 200
"""Characters of a failed command's output that stand in the reason."""


class ExecSubscriber:
    """Runs a command for each alert, at least once and in the order of its stream.

    ``timing`` replaces the clock of the pauses between attempts, for tests.
    """

    name: ClassVar[str] = "exec"
    Config = ExecConfig

    def __init__(self, config: ExecConfig, timing: Timing | None = None) -> None:
        self._config = config
        self._limits = Limits(
            timeout_s=config.timeout_s,
            kill_after_s=config.kill_after_s,
            cpu_s=config.cpu_s,
            memory_bytes=config.memory_mb << 20,
            open_files=config.open_files,
            output_bytes=config.output_bytes,
        )
        self._base = _environment(config)
        self._stop = threading.Event()
        folder = Path(config.spool).expanduser() if config.spool else state_folder("exec")
        dead_letters = Path(config.dead_letters).expanduser() if config.dead_letters else folder / "dead-letters.jsonl"
        self._delivery = Delivery(
            self.name,
            self._run,
            Outbox(folder, sync=config.sync, max_events=config.max_waiting, max_bytes=config.max_waiting_mb << 20),
            DeadLetters(dead_letters, config.dead_letters_mb << 20),
            workers=config.concurrency,
            patience=Patience(config.retry_s, config.retry_max_s, attempts=config.attempts),
            per_minute=config.per_minute,
            timing=timing,
        )
        self.counters = self._delivery.counters

    @staticmethod
    def preflight(config: ExecConfig) -> list[str]:
        """Check that the command can be run and its folder is there."""
        problems = []
        command = Path(config.command[0])
        if not command.is_file():
            problems.append(f"command: {command} does not exist or is no file; correct the path, or install it")
        elif not os.access(command, os.X_OK):
            problems.append(f"command: {command} must not be executed; chmod +x it")
        if not Path(config.cwd).is_dir():
            problems.append(f"cwd: the folder {config.cwd} does not exist")
        problems += [
            f"pass_environment: {name} is not set" for name in config.pass_environment if name not in os.environ
        ]
        return problems

    @property
    def waiting(self) -> int:
        """Events that are accepted and not done with."""
        return self._delivery.waiting

    @property
    def waited_s(self) -> float:
        """Seconds for which the oldest of them has waited."""
        return self._delivery.waited_s

    @property
    def trouble(self) -> str:
        """Why the last attempt failed; empty once one has succeeded."""
        return self._delivery.trouble

    def handle(self, event: Mapping[str, Any]) -> None:
        """Accept an event where it is wanted. Once this returns it is on disk; SubscriberBusyError while too much waits."""
        if self._is_wanted(event):
            self._delivery.put(event)

    def close(self) -> None:
        """Give running commands a moment, end them, and keep what was not done for the next start."""
        self._delivery.close(self._config.close_s, self._stop.set)

    def _is_wanted(self, event: Mapping[str, Any]) -> bool:
        data = event.get("data")
        data = data if isinstance(data, dict) else {}
        if self._config.alerts_only and not str(event["type"]).endswith(".alert"):
            return False
        if self._config.muted == "skip" and data.get("muted"):
            return False
        phase = data.get("phase")
        return phase not in {"opened", "updated", "closed"} or phase in self._config.phases

    def _run(self, event: Mapping[str, Any]) -> Outcome:
        given = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        config = self._config
        try:
            result = run_command(
                config.command,
                given,
                environment=self._base | _of(event),
                cwd=config.cwd,
                limits=self._limits,
                stop=self._stop,
            )
        except OSError as error:
            return Outcome(f"{config.command[0]}: cannot be started: {error.strerror}")
        text = self._shown(result)
        if text:
            _log.info("%s for %s wrote %d bytes: %s", config.command[0], event["id"], result.written, text)
        if result.stopped:
            return Outcome(f"{config.command[0]}: {result.stopped}")
        if result.status == 0:
            return Outcome()
        ended = f"signal {-result.status}" if result.status < 0 else f"exit status {result.status}"
        return Outcome(f"{config.command[0]}: {ended}{': ' + text[:_EXCERPT] if text else ''}")

    def _shown(self, result: Result) -> str:
        """Return its output on one line, without secrets that it was given and without control characters."""
        text = result.output.decode("utf-8", "replace").strip()
        for secret in sorted((v.get_secret_value() for v in self._config.environment.values()), key=len, reverse=True):
            text = text.replace(secret, "…") if secret else text
        text = " | ".join(text.splitlines())
        text = "".join(character if character.isprintable() else "�" for character in text)
        return text + " …" if result.written > len(result.output) and text else text


def _environment(config: ExecConfig) -> dict[str, str]:
    """Return what is the same for every event; nothing of the daemon's own environment unless it is asked for."""
    base = {"PATH": _PATH, "LANG": "C.UTF-8"}
    base |= {name: os.environ[name] for name in config.pass_environment if name in os.environ}
    return base | {name: value.get_secret_value() for name, value in config.environment.items()}


def _of(event: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables that tell of an event; those that it has nothing for are missing."""
    data = event.get("data")
    data = data if isinstance(data, dict) else {}
    told = {
        "KIND": str(event["type"]).removeprefix("streamcls."),
        "STREAM": event.get("subject"),
        "TIME": event.get("time"),
        "EVENT": event["id"],
        "ID": data.get("id", event["id"]),
        "LABEL": data.get("label"),
        "PHASE": data.get("phase"),
        "SEVERITY": data.get("severity"),
        "ACTION": data.get("action"),
    }
    return {f"STREAMCLS_{name}": value.replace("\0", "�") for name, value in told.items() if isinstance(value, str)}
