"""One reload: the configuration is read anew, compared with what is in force, and what differs is applied."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from streamcls.daemon.difference import compare, in_force
from streamcls.daemon.parts import ended
from streamcls.daemon.reload import outcome
from streamcls.errors import ConfigError, StreamclsError
from streamcls.service.audit import configuration_digest
from streamcls.service.logs import set_level

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from streamcls.daemon.busside import BusSide
    from streamcls.daemon.difference import Difference, Names
    from streamcls.daemon.parts import Parts
    from streamcls.daemon.prepare import Prepared
    from streamcls.runtime.subscribers import Supervised
    from streamcls.runtime.supervisor import SourceThread

__all__ = ["Applier"]

_log = logging.getLogger("streamcls.reload")

REASON: Final = "configuration changed"
"""Of what is closed for it."""
_SOURCE_STOP_S: Final = 2.0
"""A source looks at its stop every half second; a machine that is busy may take longer."""
_DRAIN_S: Final = 5.0
"""How long a subscriber may take for what was published before it is made anew, or removed …"""
_SUBSCRIBER_STOP_S: Final = 12.0
"""… and until it has ended, with what it takes to close."""


class Applier:
    """Reloads, whenever it is called; by one thread.

    Parameters
    ----------
    reread
        Reads and checks the configuration anew, and raises ConfigError with all that is wrong with it.
    step
        Called before all that may take time; raises where the daemon stops.
    log_level
        Whether the level of the log is the configuration's to say.
    """

    def __init__(
        self,
        parts: Parts,
        side: BusSide,
        reread: Callable[[], Prepared] | None,
        *,
        step: Callable[[str], None],
        log_level: bool = True,
    ) -> None:
        self._parts = parts
        self._side = side
        self._reread = reread
        self._step = step
        self._log_level = log_level
        self._problems: list[str] = []
        self._late: list[Supervised] = []

    def __call__(self) -> dict[str, Any]:
        """Reload; return the outcome."""
        self._problems = []
        self._prune()
        if self._reread is None:
            return outcome("refused", "the daemon does not know what its configuration was read from")
        self._step("reading the configuration")
        try:
            fresh = self._reread()
        except ConfigError as error:
            problems = [str(problem) for problem in error.problems]
            count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
            where = f"{error.path}: " if error.path else ""
            return outcome("refused", f"{where}{count}; what runs goes on as it is", problems=problems)
        except (StreamclsError, OSError) as error:
            return outcome("refused", f"{error}; what runs goes on as it is")
        except Exception as error:  # noqa: BLE001 - a stranger's code: what runs is not to suffer for it
            _log.exception("the configuration cannot be prepared")
            return outcome("refused", f"{type(error).__name__}: {error}; what runs goes on as it is")
        if self._side.security is not None:
            self._step("reading the keys")
            self._side.security.reload()
        old = self._running()
        isolates = bool(self._side.private_endpoint)
        difference = compare(old, fresh, clips=self._parts.evidence is not None, isolates=isolates)
        waiting = list(difference.waiting)
        if not difference:
            only = (
                "nothing has changed"
                if not waiting
                else f"nothing has changed but what a restart applies: {', '.join(waiting)}"
            )
            return outcome("unchanged", only, waiting=waiting)
        before = self._parts.prepared
        try:
            streams = self._apply(in_force(old, fresh, difference), difference)
        except Exception:
            self._parts.prepared = (
                before  # the next reload does all of it, since this one may have come to a part of it only
            )
            raise
        reason = "the new configuration is in force"
        if waiting:
            reason += f", but for what a restart applies: {', '.join(waiting)}"
        if self._problems:
            reason += "; not all of it could be done"
        return outcome(
            "applied",
            reason,
            problems=self._problems,
            sources=difference.sources.facts(),
            streams=streams,
            subscribers=difference.subscribers.facts(),
            models=difference.models.facts(),
            policies=difference.policies.facts(),
            settings=list(difference.settings),
            waiting=waiting,
        )

    def _prune(self) -> None:
        """Forget what an earlier reload left behind and has ended since."""
        for thread in [thread for thread in self._parts.left_behind if not thread.is_alive()]:
            self._parts.forget_source(thread)
        for subscriber in [thread for thread in self._late if not thread.is_alive()]:
            self._parts.forget_subscriber(subscriber)
            self._late.remove(subscriber)

    def _running(self) -> Prepared:
        """Return what is in force, without the sources and subscribers that could not be put there: they are tried again."""
        parts = self._parts
        resolved = parts.prepared.resolved
        there = {thread.source_name for thread in parts.sources if thread not in parts.left_behind}
        receiving = {thread.subscriber_name for thread in parts.subscribers if thread not in self._late}
        return replace(
            parts.prepared,
            resolved=replace(
                resolved,
                sources=[part for part in resolved.sources if part.name in there],
                subscribers=[pair for pair in resolved.subscribers if pair[1].name in receiving],
            ),
        )

    def _apply(self, fresh: Prepared, difference: Difference) -> dict[str, list[str]]:
        """Apply a difference; return the streams that were changed and ended."""
        parts = self._parts
        stuck = self._stop_subscribers(difference.subscribers)
        parts.prepared = fresh
        self._apply_settings(difference.settings)
        wanted = [
            pair for pair in fresh.resolved.subscribers
            if pair[1].name in {*difference.subscribers.added, *difference.subscribers.changed} - stuck
        ]  # fmt: skip
        self._step("starting subscribers")
        parts.start_subscribers(wanted)
        wedged = self._stop_sources(difference.sources)
        streams = self._replan()
        self._start_sources({*difference.sources.added, *difference.sources.changed} - wedged)
        return streams

    def _apply_settings(self, keys: Collection[str]) -> None:
        parts, settings = self._parts, self._parts.settings
        tables = {key.partition(".")[0] for key in keys}
        if "daemon.log_level" in keys and self._log_level:
            set_level(settings.daemon.log_level)
        if "silence" in tables:
            self._side.people.plan(settings.silence)
        if "journal" in tables and self._side.journal is not None:
            self._side.journal.limit(settings.journal.max_mb, settings.journal.max_age_days)
        if "daemon.stall_s" in keys and parts.router is not None:
            parts.router.stall_after(settings.daemon.stall_s)
        self._step("the keeper of clips")
        parts.ensure_evidence()
        if "audit" in tables:
            self._renew_audit()
        elif parts.audit is not None:
            parts.audit.configure(configuration_digest(settings))

    def _renew_audit(self) -> None:
        audit = self._parts.audit
        if audit is not None:
            audit.finish(_DRAIN_S)
            if not all(ended([audit], _SUBSCRIBER_STOP_S, lambda: self._step("the end of the audit log"))):
                self._complain("the audit log does not end, and goes on as it was; restart the daemon")
                return
        self._parts.renew_audit()

    # --- subscribers

    def _stop_subscribers(self, names: Names) -> set[str]:
        """Have those that go, and those that are made anew, take what was published; return the names of those that do not end."""
        parts = self._parts
        wanted = {*names.changed, *names.removed}
        going = [t for t in parts.subscribers if t.subscriber_name in wanted and t not in self._late]
        self._step("stopping subscribers")
        for thread in going:
            thread.finish(_DRAIN_S)
        over = ended(going, _SUBSCRIBER_STOP_S, lambda: self._step("stopping subscribers"))
        for thread, done in zip(going, over, strict=True):
            if done:
                parts.forget_subscriber(thread)
            else:
                self._late.append(thread)
        late = {thread.subscriber_name for thread in self._late}
        for name in sorted(late & {*names.added, *wanted}):
            self._complain(f"subscriber {name}: the one that ran does not end, and none is started in its place")
        return late

    # --- sources

    def _stop_sources(self, names: Names) -> set[str]:
        """Stop those that go, and those that are made anew; return the names of those that do not heed it."""
        parts = self._parts
        wanted = {*names.added, *names.changed, *names.removed}
        going = [t for t in parts.sources if t.source_name in wanted and t not in parts.left_behind]
        self._step("stopping sources")
        for thread in going:
            thread.stop_event.set()
        over = ended(going, _SOURCE_STOP_S, lambda: self._step("stopping sources"))
        wedged = set()
        for thread, done in zip(going, over, strict=True):
            name = thread.source_name
            if done and not self._leave(thread):
                wedged.add(name)
            elif not done:
                parts.leave_behind(thread, f"it did not heed the stop within {_SOURCE_STOP_S:g} s")
                parts.wedged = name
                wedged.add(name)
                self._complain(
                    f"source {name}: it did not heed the stop within {_SOURCE_STOP_S:g} s and is left behind"
                )
        if parts.resumption is not None:
            for name in wanted:
                parts.resumption.succeed(name)
            for name in names.removed:
                parts.resumption.forget(name)
        parts.unmade -= {*names.removed}
        before = {thread.source_name for thread in parts.left_behind} - wedged
        for name in sorted(before & {*names.added, *names.changed}):
            self._complain(f"source {name}: one that was left behind still runs, and none is started beside it")
        return wedged | before

    def _leave(self, thread: SourceThread) -> bool:
        """Close what a source that has stopped has open, once the workers have taken up what it delivered; whether that was done.

        Without it a successor would not know where to go on. Workers that take longer than this are stuck, and said to be.
        """
        parts, name = self._parts, thread.source_name
        parts.forget_source(thread)
        self._step(f"closing the streams of source {name}")
        patience_s = parts.settings.daemon.stuck_s
        if parts.router is None or parts.router.leave(name, REASON, patience_s):
            return True
        self._complain(
            f"source {name}: the workers have not taken up what it delivered within {patience_s:g} s; "
            "none is started in its place before the next reload"
        )
        return False

    def _start_sources(self, names: Collection[str]) -> None:
        parts, resumption = self._parts, self._parts.resumption
        if resumption is None:
            return
        self._step("making sources")
        wanted = [part for part in parts.prepared.resolved.sources if part.name in names]
        made = parts.make_sources(wanted, resumption)
        self._problems += [
            f"source {name}: it cannot be made; see the log" for name in sorted(parts.unmade & set(names))
        ]
        for name, source in made:
            if not getattr(source, "resumes", False):
                resumption.forget(name)
        self._step("starting sources")
        parts.start_sources(made)

    def _replan(self) -> dict[str, list[str]]:
        parts = self._parts
        self._step("planning the streams")
        if parts.router is None:
            return {"changed": [], "ended": []}
        changed, over = parts.router.replan(parts.plan, REASON)
        return {"changed": sorted(changed), "ended": sorted(over)}

    def _complain(self, problem: str) -> None:
        _log.error("%s", problem)
        self._problems.append(problem)
