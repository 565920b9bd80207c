"""The contract of policies."""

from __future__ import annotations

import gc
import json
import re
import sys
import unittest
from dataclasses import replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from streamcls.bus.wire import decode, encode
from streamcls.interfaces import Policy, PolicyContext, ResumablePolicy
from streamcls.testing.component import ComponentContract
from streamcls.testing.values import make_levels, make_model, make_posterior

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import FrameType

    from streamcls.types import Event, Levels, ModelInfo, Posterior

__all__ = ["PolicyContract", "check_findings", "open_findings"]

_KIND: Final = re.compile(r"[a-z][a-z0-9_-]*(\.[a-z][a-z0-9_-]*)+")
_RESERVED: Final = ("daemon.", "stream.")
_PHASES: Final = ("opened", "updated", "closed")
_HOLD_S: Final = 20.0
_SURE: Final = 0.97
_DAY_S: Final = 86_400
_RESTART_EVERY: Final = (1, 7, 40)
"""Windows between two restarts that a policy has to bear."""


def open_findings(events: Iterable[Event]) -> dict[str, Event]:
    """Return, by id, the newest event of each segment or alert that was opened and not closed."""
    found: dict[str, Event] = {}
    for event in events:
        phase = event.data.get("phase")
        if phase == "closed":
            found.pop(event.data["id"], None)
        elif phase is not None:
            found[event.data["id"]] = event
    return found


def check_findings(events: Iterable[Event]) -> None:
    """Check the life of every segment and alert among a stream's events.

    Each has one id, is opened once, then updated any number of times, then closed once with a reason; what it is and where it begins
    stay as they are, and its end never moves back.

    Raises
    ------
    AssertionError
        Where that does not hold; the message names the event.
    """
    newest: dict[str, Event] = {}
    for event in events:
        data = event.data
        if "phase" not in data:
            continue
        identifier, phase, before = data.get("id"), data["phase"], newest.get(data.get("id", ""))
        where = f"{event.kind} {identifier} {phase}"
        assert isinstance(identifier, str), f"{where}: its id is {identifier!r}, expected a string"
        assert identifier, f"{where}: its id is empty"
        assert phase in _PHASES, f"{where}: phase is {phase!r}, expected one of {', '.join(_PHASES)}"
        if before is None:
            assert phase == "opened", f"{where}: it was never opened"
        else:
            assert before.data["phase"] != "closed", f"{where}: it was closed before"
            assert phase != "opened", f"{where}: it was opened before"
            for key in ("label", "first_sample", "sample_rate"):
                assert data.get(key) == before.data.get(key), (
                    f"{where}: {key} changed from {before.data.get(key)!r} to {data.get(key)!r}"
                )
            assert event.kind == before.kind, f"{where}: it was of the kind {before.kind}"
            assert data["end_sample"] >= before.data["end_sample"], f"{where}: end_sample went back"
        if phase == "closed":
            assert data.get("reason"), f"{where}: it has no reason"
        newest[identifier] = event


def _ids(events: Iterable[Event]) -> set[str]:
    return {event.data["id"] for event in events if "phase" in event.data}


class _ClockWatch:
    """Notices calls of the clock on this thread, other than those of ``logging``."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __enter__(self) -> Self:
        self._previous, self._collecting = sys.getprofile(), gc.isenabled()
        gc.disable()  # a collection calls back whoever asked for that, such as a test tool that times collections
        sys.setprofile(self._look)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(self._previous)
        if self._collecting:
            gc.enable()

    def _look(self, frame: FrameType, what: str, function: Any) -> None:
        if what != "c_call" or str(frame.f_globals.get("__name__", "")).startswith("logging"):
            return
        owner = getattr(function, "__self__", None)
        today = (owner is datetime or owner is date) and function.__name__ in {"now", "utcnow", "today"}
        if today or getattr(function, "__module__", None) == "time":
            self.calls.append(f"{function.__name__}() in {frame.f_code.co_filename}:{frame.f_lineno}")


class PolicyContract(ComponentContract):
    """Subclass it, set ``component``, and override ``options``, ``model`` and ``posteriors`` so that the policy has something to say.

    Attributes
    ----------
    makes_findings
        Whether the policy publishes segments or alerts (events with a ``phase``); False for one that only comments on windows.
    """

    makes_findings: ClassVar[bool] = True

    def model(self) -> ModelInfo:
        """Return the model that the policy listens to."""
        return make_model()

    def posteriors(self) -> Sequence[Posterior]:
        """Return a model's opinions in order of time: by default each label in turn holds for 20 s, with 20 s of nothing between."""
        model = self.model()
        count = round(_HOLD_S / model.stride_s)
        nothing = {} if model.exclusive else dict.fromkeys(model.labels, 0.01)
        opinions = [opinion for label in model.labels for opinion in ({label: _SURE}, nothing)]
        windows = [opinion for opinion in opinions for _ in range(count)]
        return [make_posterior(model, opinion, at_s=number * model.stride_s) for number, opinion in enumerate(windows)]

    def policy(self, *, stream: str = "test", origin: str = "") -> Policy:
        """Make the policy."""
        policy: Policy = self.component(self.config(), PolicyContext("policy", stream, self.model(), origin))
        return policy

    def play(self, policy: Policy, items: Iterable[Posterior | Levels] | None = None) -> list[Event]:
        """Give a policy all items, by default ``posteriors()``, and return its events."""
        return [event for item in (self.posteriors() if items is None else items) for event in policy.update(item)]

    def whole(self, policy: Policy | None = None) -> list[Event]:
        """Return the events of a whole stream, closed at its end with the reason ``end``."""
        used = policy or self.policy()
        events = self.play(used)
        return events + used.close(self.posteriors()[-1].end_sample, "end")

    def test_it_has_the_members_of_a_policy(self) -> None:
        """See :class:`streamcls.Policy`."""
        assert isinstance(self.policy(), Policy), "it lacks accepts, update, gap or close"

    def test_it_says_which_models_it_listens_to(self) -> None:
        """``accepts`` returns True for the model at hand, and has an answer for one that it has never heard of."""
        config = self.config()
        assert self.component.accepts(config, self.model()) is True, "accepts() does not return True for model()"
        other = replace(self.model(), name="another", task="another", labels=("this", "that"))
        assert self.component.accepts(config, other) in {True, False}, "accepts() returned neither True nor False"

    def test_the_same_input_gives_the_same_events(self) -> None:
        """Ids included: after a restart of the daemon the same finding is the same finding."""
        assert self.whole() == self.whole(), "two policies of one configuration disagree on the same posteriors"

    def test_it_knows_no_clock(self) -> None:
        """It lives in samples, so that a file gives in a second the events that it would have given live."""
        policy, posteriors = self.policy(), self.posteriors()
        with _ClockWatch() as watch:
            self.play(policy, posteriors)
            policy.close(posteriors[-1].end_sample, "end")
        assert not watch.calls, f"it asked the clock: {', '.join(sorted(set(watch.calls)))}"

    def test_its_events_can_be_published(self) -> None:
        """Kinds are dotted and not the daemon's own; data are JSON values, equal after the wire to what they were before."""
        events = self.whole()
        assert events, "it published nothing: override posteriors() so that it has something to say"
        for event in events:
            assert _KIND.fullmatch(event.kind), f"kind is {event.kind!r}, expected e.g. genre.segment"
            assert not event.kind.startswith(_RESERVED), (
                f"kind is {event.kind!r}; daemon.… and stream.… are the daemon's own"
            )
            assert event.stream == "test", f"{event.kind}: stream is {event.stream!r}, expected that of the context"
            assert event.time is None, f"{event.kind}: time is {event.time}; the pipeline stamps it"
            _, envelope = decode(encode(event, source="/streamcls/test", epoch="0", sequence=1, now=0.0))
            assert envelope["data"] == dict(event.data), (
                f"{event.kind}: data change on the wire (a tuple, or keys that are no strings?)"
            )

    def test_its_sample_indices_lie_within_the_stream(self) -> None:
        """From the stream's first sample to the end of the newest window, with the source's rate beside them."""
        policy = self.policy()
        for posterior in self.posteriors():
            for event in policy.update(posterior):
                self._check_indices(event, posterior)
        last = self.posteriors()[-1]
        for event in policy.close(last.end_sample, "end"):
            self._check_indices(event, last)

    @staticmethod
    def _check_indices(event: Event, last: Posterior) -> None:
        data, end = event.data, last.end_sample
        if event.sample is not None:
            assert isinstance(event.sample, int), f"{event.kind}: sample is {event.sample!r}, expected an int"
            assert 0 <= event.sample <= end, f"{event.kind}: sample is {event.sample}, the stream goes to {end}"
        if "first_sample" in data or "phase" in data:
            first, until = data["first_sample"], data["end_sample"]
            assert 0 <= first <= until <= end, f"{event.kind}: it covers {first} to {until}, the stream goes to {end}"
            rate = data["sample_rate"]
            assert rate == last.sample_rate, f"{event.kind}: sample_rate is {rate}, the stream's is {last.sample_rate}"

    def test_each_finding_is_opened_once_then_updated_then_closed_once(self) -> None:
        """Under one id; see :func:`streamcls.testing.check_findings`."""
        events = self.whole()
        found = [event for event in events if "phase" in event.data]
        assert bool(found) == self.makes_findings, (
            f"{len(found)} events with a phase, and makes_findings is {self.makes_findings}"
        )
        check_findings(events)

    def test_closing_closes_all_that_is_open(self) -> None:
        """Wherever in the stream that happens, with the reason that was given."""
        posteriors = self.posteriors()
        for cut in sorted({1, len(posteriors) // 3, len(posteriors) // 2, len(posteriors)}):
            policy = self.policy()
            events = self.play(policy, posteriors[:cut])
            last = policy.close(posteriors[cut - 1].end_sample, "shutdown")
            check_findings(events + last)
            left = open_findings(events + last)
            assert not left, f"after close(), still open: {', '.join(left)}"
            reasons = {event.data["reason"] for event in last if event.data.get("phase") == "closed"}
            assert reasons <= {"shutdown"}, f"closed with the reasons {reasons}, expected 'shutdown'"

    def test_closing_one_that_has_seen_nothing_says_nothing(self) -> None:
        """A stream may end before its first window."""
        assert self.policy().close(0, "end") == [], "it closed what was never opened"

    def test_a_long_gap_closes_what_is_open(self) -> None:
        """A day of missing audio ends everything, at the latest where the gap begins; a short gap may be bridged."""
        if self.makes_findings:
            policy, events, last = self._until_open()
            closing = policy.gap(last.end_sample, last.end_sample + _DAY_S * last.sample_rate)
            check_findings(events + closing)
            left = open_findings(events + closing)
            assert not left, f"after a gap of a day, still open: {', '.join(left)}"
            for event in closing:
                self._check_indices(event, last)
        policy, last = self.policy(), self.posteriors()[0]
        assert not open_findings(policy.gap(0, last.end_sample)), "a gap opened something"

    def test_it_begins_anew_after_a_long_gap(self) -> None:
        """As if the stream had begun there, but for the indices; and a finding after it is another one."""
        policy, posteriors = self.policy(), self.posteriors()
        rate, end = posteriors[-1].sample_rate, posteriors[-1].end_sample
        jump = -(-end // (_DAY_S * rate)) * _DAY_S * rate
        before = self.play(policy)
        between = policy.gap(end, jump)
        later = [replace(p, first_sample=p.first_sample + jump, end_sample=p.end_sample + jump) for p in posteriors]
        after = self.play(policy, later)
        check_findings(before + between + after)

        def story(events: Iterable[Event]) -> list[tuple[Any, ...]]:
            return [(event.kind, event.data.get("phase"), event.data.get("label")) for event in events]

        assert story(after) == story(before), (
            "after a gap of a day the same posteriors gave other events: something was carried over it"
        )
        shared = _ids(before) & _ids(after)
        assert not shared, f"findings before and after a gap share the ids {', '.join(shared)}"

    def test_it_goes_on_over_a_restart_as_if_there_had_been_none(self) -> None:
        """Where it has ``state`` and ``restore``: what the one returned, after JSON, makes an equal policy of a new one."""
        if not isinstance(self.policy(), ResumablePolicy):
            raise unittest.SkipTest("it has no state and restore: what it has open is lost when the daemon is killed")
        posteriors, expected = self.posteriors(), self.whole()
        for every in _RESTART_EVERY:
            policy, events = self.policy(), []
            for number, posterior in enumerate(posteriors):
                if number % every == 0:
                    policy = self._restarted(policy)
                events += policy.update(posterior)
            events += policy.close(posteriors[-1].end_sample, "end")
            assert events == expected, f"restored from its state after every {every} windows it published other events"

    def test_a_gap_after_a_restart_is_as_any_other(self) -> None:
        """What was restored also knows when it heard the last window."""
        if not isinstance(self.policy(), ResumablePolicy):
            raise unittest.SkipTest("it has no state and restore")
        posteriors = self.posteriors()[: round(0.75 * _HOLD_S / self.model().stride_s)]
        for gap_s in (0.1, 1.0, 10.0):
            stories = []
            for restart in (False, True):
                policy = self.policy()
                events = self.play(policy, posteriors)
                last = posteriors[-1]
                if restart:
                    policy = self._restarted(policy)
                end = last.end_sample + round(gap_s * last.sample_rate)
                stories.append([*events, *policy.gap(last.end_sample, end), *policy.close(end, "end")])
            assert stories[0] == stories[1], f"after a restart a gap of {gap_s:g} s meant something else"

    def test_a_state_that_is_none_is_refused(self) -> None:
        """``restore`` raises ``ValueError`` for what ``state`` never returned."""
        if not isinstance(self.policy(), ResumablePolicy):
            raise unittest.SkipTest("it has no state and restore")
        policy = self.policy()
        assert isinstance(policy, ResumablePolicy)
        self.play(policy)
        for member in policy.state():
            broken = {name: value for name, value in policy.state().items() if name != member}
            fresh = self.policy()
            assert isinstance(fresh, ResumablePolicy)
            try:
                fresh.restore(broken)
            except ValueError:
                continue
            raise AssertionError(f"a state without its {member!r} was taken over; raise ValueError")

    def _restarted(self, policy: Policy) -> ResumablePolicy:
        assert isinstance(policy, ResumablePolicy)
        state = json.loads(json.dumps(policy.state(), allow_nan=False))
        fresh = self.policy()
        assert isinstance(fresh, ResumablePolicy)
        fresh.restore(state)
        return fresh

    def test_findings_of_different_streams_and_origins_have_different_ids(self) -> None:
        """An id is unique among everything that a daemon ever publishes."""
        ids = [
            _ids(self.whole(self.policy(stream=stream, origin=origin)))
            for stream, origin in (("test", ""), ("other", ""), ("test", "later"))
        ]
        for one, two in ((0, 1), (0, 2)):
            assert not ids[one] & ids[two], (
                "findings on different streams or of different origins share ids: hash PolicyContext into them"
            )

    def test_findings_do_not_depend_on_how_the_audio_was_cut(self) -> None:
        """Long chunks bring several levels at once, and then several posteriors; the findings have to be the same."""
        finely = self._findings(self._mixed(1))
        assert finely == self._findings(self._mixed(9)), (
            "levels that came earlier, relative to the posteriors, changed the findings"
        )

    def _findings(self, items: Sequence[Posterior | Levels]) -> dict[str, list[Any]]:
        policy = self.policy()
        events = self.play(policy, items) + policy.close(self.posteriors()[-1].end_sample, "end")
        found: dict[str, list[Any]] = {}
        for event in events:
            if "phase" in event.data:
                found.setdefault(event.data["id"], []).append(
                    (event.data["phase"], json.dumps(event.data, sort_keys=True))
                )
        return found

    def _mixed(self, windows_at_once: int) -> list[Posterior | Levels]:
        """Return posteriors and levels as a pipeline hands them over that gets so many windows' audio at once."""
        posteriors = self.posteriors()
        items: list[Posterior | Levels] = []
        second = 0
        for start in range(0, len(posteriors), windows_at_once):
            part = posteriors[start : start + windows_at_once]
            while (second + 1) * part[-1].sample_rate <= part[-1].end_sample:
                items.append(make_levels(float(second), 1.0, sample_rate=part[-1].sample_rate))
                second += 1
            items += part
        return items

    def _until_open(self) -> tuple[Policy, list[Event], Posterior]:
        policy = self.policy()
        events: list[Event] = []
        for posterior in self.posteriors():
            events += policy.update(posterior)
            if open_findings(events):
                return policy, events, posterior
        raise AssertionError("posteriors() opened nothing: override it, or set makes_findings to False")
