"""Reloads, evenly spread: real differences, files that must be refused, several requests at once."""

from __future__ import annotations

import random
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from soaking.changes import Change, bad_file, next_change, unexpected
from soaking.configuration import Knobs, rendered
from streamcls.service.control_path import ControlError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from soaking.configuration import Places
    from soaking.process import DaemonProcess, Reports

__all__ = ["Reloads"]

_ANSWER_S: Final = 60.0
_BAD_EACH: Final = 10
"""With every tenth reload a file is tried that must be refused."""
_STORM_EACH: Final = 25
_STORM: Final = 20
"""Signals in a row."""
_QUIET_S: Final = 1.5
_LOOK_S: Final = 0.1
_BY_COMMAND_EACH: Final = 10


class Reloads(threading.Thread):
    """Makes so many reloads, evenly spread over the run, of which ``progress`` tells from 0 to 1.

    Attributes
    ----------
    applied, refused
        Reloads that changed something; files that were refused, as they had to be.
    failures
        What went otherwise than it had to, as sentences.
    kinds
        How often each change was made.
    took_s
        Of each reload that was applied, as the daemon states it.
    """

    def __init__(
        self,
        daemon: DaemonProcess,
        reports: Reports,
        config: Path,
        places: Places,
        *,
        number: int,
        progress: Callable[[], float],
        seed: int,
    ) -> None:
        super().__init__(name="reloads", daemon=True)
        self.applied = self.refused = self.storms = 0
        self.failures: list[str] = []
        self.kinds: Counter[str] = Counter()
        self.took_s: list[float] = []
        self.knobs = Knobs()
        self.failure: BaseException | None = None
        self._daemon, self._reports, self._config, self._places = daemon, reports, config, places
        self._number, self._progress = number, progress
        self._random = random.Random(seed)
        self._halt = threading.Event()

    def run(self) -> None:
        """Reload until there were enough, or halted."""
        try:
            for number in range(1, self._number + 1):
                while self._progress() < number / (self._number + 1):
                    if self._halt.wait(_LOOK_S):
                        return
                if number % _BAD_EACH == 0:
                    self._refuse(number // _BAD_EACH)
                if number % _STORM_EACH == 0:
                    self._storm()
                self._change(next_change(self.knobs, self._random, self.kinds))
        except BaseException as error:
            self.failure = error
            raise

    def halt(self) -> None:
        """End after the reload at hand."""
        self._halt.set()
        self.join(2 * _ANSWER_S)

    def restore(self) -> None:
        """Go back to the configuration of the beginning."""
        if self.knobs != Knobs():
            self.knobs = Knobs()
            self._ask(rendered(self._places, self.knobs), by="op")

    def _change(self, change: Change) -> None:
        knobs = change.turn(self.knobs)
        ways = ["signal", "op"]
        by = "command" if (self.applied + 1) % _BY_COMMAND_EACH == 0 else self._random.choice(ways)
        report = self._ask(rendered(self._places, knobs), by=by)
        if report is None:
            self.failures.append(f"{change.what}: no report within {_ANSWER_S:g} s of the request by {by}")
            return
        wrong = unexpected(change, report)
        self.failures += wrong
        if report.get("state") == "applied":
            self.knobs = knobs
            self.applied += 1
            self.kinds[change.what] += 1
            self.took_s.append(float(report.get("took_s", 0.0)))

    def _refuse(self, number: int) -> None:
        what, text = bad_file(self._places, self.knobs, number)
        report = self._ask(text, by=self._random.choice(["signal", "op"]))
        if report is None or report.get("state") != "refused" or not (report.get("problems") or report.get("reason")):
            self.failures.append(f"{what} was not refused: {report}")
        else:
            self.refused += 1
        self._write(rendered(self._places, self.knobs))

    def _storm(self) -> None:
        """Ask many times at once for what is in force already."""
        before = len(self._reports)
        for _ in range(_STORM):
            self._daemon.reload_by_signal()
        self.storms += 1
        while self._reports.after(before, _QUIET_S) is not None:
            report = self._reports.after(before, 0.0)
            before += 1
            if report is not None and report.get("state") != "unchanged":
                self.failures.append(
                    f"a storm of signals without a difference: {report.get('state')}: {report.get('reason')}"
                )

    def _write(self, text: str) -> None:
        fresh = self._config.with_suffix(".new")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(self._config)

    def _ask(self, text: str, *, by: str) -> dict[str, Any] | None:
        self._write(text)
        before = len(self._reports)
        if by == "signal":
            self._daemon.reload_by_signal()
        elif by == "op":
            try:
                self._daemon.ask("reload")
            except ControlError as error:
                self.failures.append(f"the reload was not accepted: {error}")
                return None
        elif self._daemon.reload_by_command():
            self.failures.append("streamcls reload: exit status other than 0")
        return self._reports.after(before, _ANSWER_S)
