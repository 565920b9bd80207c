"""Keeping what people say about alerts, answering their requests, and marking the events it applies to."""

from __future__ import annotations

import dataclasses
import logging
import secrets
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from streamcls.bus.wire import rfc3339
from streamcls.errors import BusError
from streamcls.service.people import kept
from streamcls.service.people.entries import Mute, acknowledgement, mute, person, text
from streamcls.service.people.silence import Silence
from streamcls.types import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from streamcls.bus.permissions import Principal
    from streamcls.config.schema import SilenceSettings

__all__ = ["People"]

_log = logging.getLogger("streamcls.people")

_ALERT: Final = ".alert"
_MOST_MUTES: Final = 1_000
_MOST_ACKNOWLEDGED: Final = 5_000
_MOST_RECENT: Final = 5_000
"""Alerts of late that may be acknowledged without a look into the journal."""
_ACKNOWLEDGED_S: Final = 90 * 86_400.0
"""Seconds after which an acknowledgement is forgotten."""
_LOOK_S: Final = 1.0


class People:
    """Acknowledgements, mutes and planned silence. Any thread may call any method.

    ``annotate`` is for the bus thread: it takes no lock and writes nothing. ``handlers`` are for the thread that answers requests:
    each change is on the disk before it is published and answered. ``tick`` is to be called now and then, by any thread but the bus's:
    it tells of mutes that are over.

    Parameters
    ----------
    path
        File that keeps it all, e.g. ``people.json`` in the state folder.
    publish
        Takes the events ``moderation.ack`` and ``moderation.mute``.
    name
        Of the daemon: the stream of events that belong to none.
    known
        Whether an alert of this id is open; what it returns may be the alert's stream.
    """

    def __init__(
        self,
        path: Path,
        publish: Callable[[Event], None],
        *,
        name: str,
        silence: Iterable[SilenceSettings] = (),
        known: Callable[[str], bool | str | None] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._publish = publish
        self._name = name
        self._known = known
        self._clock = clock
        self._silence = tuple(Silence(settings) for settings in silence)
        self._lock = threading.Lock()
        self._next_look = 0.0
        # Replaced as a whole under the lock, so that the bus thread reads them without it.
        mutes, acknowledged = kept.read(path)
        self._mutes = tuple(mutes[-_MOST_MUTES:])
        self._acknowledged = {entry.alert: entry for entry in acknowledged[-_MOST_ACKNOWLEDGED:]}
        self._recent: OrderedDict[str, str] = (
            OrderedDict()
        )  # by id of an alert its stream; changed by the bus thread only

    def annotate(self, event: Event, now: float | None = None) -> Event:
        """Return an event with what people said of it: ``muted`` and ``acknowledged`` in the data of an alert; else the same object.

        A mute holds from when it was made, and so at ``now``; planned silence speaks of when an alert sounded, its event's time.
        """
        if not event.kind.endswith(_ALERT):
            return event
        identifier = event.data.get("id")
        if isinstance(identifier, str):
            self._note(identifier, event.stream)
        if not (self._mutes or self._silence or self._acknowledged):
            return event
        now = self._clock() if now is None else now
        marks: dict[str, Any] = {}
        muted = self._muted(event, now)
        if muted is not None:
            marks["muted"] = muted
        seen = self._acknowledged.get(identifier) if isinstance(identifier, str) else None
        if seen is not None:
            marks["acknowledged"] = {"by": seen.by, "at": rfc3339(seen.at), "note": seen.note}
        return dataclasses.replace(event, data={**event.data, **marks}) if marks else event

    def plan(self, silence: Iterable[SilenceSettings]) -> None:
        """Replace the planned silence: alerts are marked by the new one from now on."""
        self._silence = tuple(Silence(settings) for settings in silence)

    def tick(self) -> None:
        """Forget what is over, and publish that a mute is. Cheap where it is called too often."""
        now = self._clock()
        if now < self._next_look <= now + _LOOK_S:  # beyond that the clock was set back
            return
        self._next_look = now + _LOOK_S
        with self._lock:
            over = [item for item in self._mutes if item.over(now)]
            old = [entry.alert for entry in self._acknowledged.values() if entry.at < now - _ACKNOWLEDGED_S]
            if not over and not old:
                return
            self._mutes = tuple(item for item in self._mutes if not item.over(now))
            self._acknowledged = {alert: entry for alert, entry in self._acknowledged.items() if alert not in old}
            self._keep()
        for item in over:
            self._tell_mute("expired", item)

    def handlers(self) -> dict[str, Callable[[Mapping[str, Any], Principal], Mapping[str, Any]]]:
        """Return what answers the requests ``ack``, ``mute``, ``unmute`` and ``mutes``; each raises BusError where it refuses."""
        return {"ack": self._ack, "mute": self._mute, "unmute": self._unmute, "mutes": self._list}

    def _ack(self, request: Mapping[str, Any], principal: Principal) -> Mapping[str, Any]:
        by, now = self._allowed(request, principal), self._clock()
        entry = acknowledgement(request, by, now)
        stream = self._recent.get(entry.alert) or self._known(entry.alert)
        if not stream and entry.alert not in self._acknowledged:
            raise BusError(f"no alert {entry.alert!r} is open or was of late; expected data.id of an alert's events")
        with self._lock:
            others = [other for alert, other in self._acknowledged.items() if alert != entry.alert]
            self._acknowledged = {other.alert: other for other in [*others[-(_MOST_ACKNOWLEDGED - 1) :], entry]}
            warning = self._keep()
        subject = stream if isinstance(stream, str) and stream else self._name
        self._tell(Event("moderation.ack", subject, entry.facts(), time=now))
        return {"acknowledged": entry.facts(), **warning}

    def _mute(self, request: Mapping[str, Any], principal: Principal) -> Mapping[str, Any]:
        by = self._allowed(request, principal)
        item = mute(request, secrets.token_hex(4), by, self._clock())
        with self._lock:
            if len(self._mutes) >= _MOST_MUTES:
                raise BusError(f"{_MOST_MUTES} mutes are in force, and no more can be; end some of them (unmute)")
            self._mutes = (*self._mutes, item)
            warning = self._keep()
        self._tell_mute("muted", item)
        return {"mute": item.facts(), **warning}

    def _unmute(self, request: Mapping[str, Any], principal: Principal) -> Mapping[str, Any]:
        by = self._allowed(request, principal)
        wanted = text(request, "mute")
        with self._lock:
            found = next((item for item in self._mutes if item.id == wanted), None)
            if found is None:
                raise BusError(f"no mute {wanted!r} is in force; the request mutes lists those that are")
            self._mutes = tuple(item for item in self._mutes if item is not found)
            warning = self._keep()
        self._tell_mute("unmuted", found, ended_by=by)
        return {"mute": found.facts(), **warning}

    def _list(self, _request: Mapping[str, Any], principal: Principal) -> Mapping[str, Any]:
        if not (principal.control or principal.allows("moderation.mute", self._name)):
            raise BusError(f"the key of {principal.name!r} may not see mutes")
        now = self._clock()
        silences = [(item.name, item.end_of_current(now)) for item in self._silence]
        return {
            "mutes": [item.facts() for item in self._mutes if not item.over(now)],
            "silences": [{"name": name, "until": rfc3339(until)} for name, until in silences if until is not None],
            "acknowledged": len(self._acknowledged),
        }

    def _muted(self, event: Event, now: float) -> dict[str, Any] | None:
        for item in self._mutes:
            if item.matches(event.stream, event.data) and not item.over(now):
                until = None if item.until is None else rfc3339(item.until)
                return {"by": "mute", "id": item.id, "until": until, "note": item.note}
        for silence in self._silence:
            try:
                end = silence.until(event.stream, event.data, now if event.time is None else event.time)
            except (
                ValueError,
                OverflowError,
                OSError,
            ):  # a plugin's time beyond all calendars, which the bus will refuse
                return None
            if end is not None:
                return {"by": "silence", "name": silence.name, "until": rfc3339(end), "note": ""}
        return None

    def _note(self, identifier: str, stream: str) -> None:
        self._recent[identifier] = stream
        if len(self._recent) > _MOST_RECENT:
            self._recent.popitem(last=False)

    @staticmethod
    def _allowed(request: Mapping[str, Any], principal: Principal) -> str:
        """Return who asks; raises BusError where a key may not acknowledge and mute."""
        if not principal.control:
            raise BusError(f"the key of {principal.name!r} may not acknowledge or mute (control = true in its file)")
        return person(request, principal.name, proven=bool(principal.key))

    def _keep(self) -> dict[str, Any]:
        """Write the file; where that fails, return a warning for the answer: it is in force, but only until the daemon ends."""
        try:
            kept.write(self._path, self._mutes, self._acknowledged.values())
        except OSError as error:
            _log.error(
                "%s cannot be written: %s; what people said holds until the daemon ends", self._path, error.strerror
            )
            return {"warning": f"it holds until the daemon ends: {self._path.name} cannot be written: {error.strerror}"}
        return {}

    def _tell_mute(self, state: str, item: Mute, **more: str) -> None:
        self._tell(Event("moderation.mute", self._name, {"state": state, **item.facts(), **more}, time=self._clock()))

    def _tell(self, event: Event) -> None:
        try:
            self._publish(event)
        except BusError as error:
            _log.warning("%s is not published: %s", event.kind, error)
