"""Writes clips in a thread of its own: the workers hand them over and never wait for a disk."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from streamcls.audio.flac import encode_flac
from streamcls.errors import AudioError, BusError
from streamcls.service.clips import ClipFolder
from streamcls.types import Event

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from streamcls.config.schema import EvidenceSettings
    from streamcls.runtime.evidence import Clip
    from streamcls.service.clips import StoredClip

__all__ = ["EvidenceWriter"]

_log = logging.getLogger("streamcls.evidence")

_MOST_WAITING_BYTES: Final = 128 << 20
_MOST_WAITING: Final = 256
_LOOK_S: Final = 600.0
"""Between two looks for clips that are too old, where none is written."""


class EvidenceWriter(threading.Thread):
    """The keeper of clips, see :class:`~streamcls.runtime.evidence.ClipSink`.

    At most 256 clips and 128 MiB of samples wait (or a single larger clip); what does not fit is given up, counted and announced.
    Where the disk fails, that is announced too, and the next clip is tried again.

    Attributes
    ----------
    state, reason
        ``ok`` or ``failed``, and why.
    written, given_up, removed
        Clips since the start.
    """

    def __init__(
        self,
        folder: Path,
        settings: EvidenceSettings,
        publish: Callable[[Event], None],
        *,
        daemon_name: str = "streamcls",
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(name="evidence", daemon=True)
        self._folder = ClipFolder(folder, max_mb=settings.max_mb, max_age_days=settings.max_age_days)
        self._settings = settings
        self._publish_event = publish
        self._daemon_name = daemon_name
        self._clock = clock
        self._changed = threading.Condition()
        self._queue: deque[Clip] = deque()
        self._queued_bytes = 0
        self._going_on: set[str] = set()
        self._closing = False
        self._ready = False
        self._said: list[StoredClip] = []
        self.state = "ok"
        self.reason = ""
        self.written = self.given_up = self.removed = 0

    def configure(self, settings: EvidenceSettings) -> None:
        """Keep as many clips, and for as long, as other settings say; the folder stays. From any thread."""
        with self._changed:
            self._settings = settings
            self._changed.notify_all()

    def opened(self, alert_id: str) -> None:
        """Remember that an alert goes on: its clip is not removed."""
        with self._changed:
            self._going_on.add(alert_id)

    def closed(self, alert_id: str) -> None:
        """Forget that."""
        with self._changed:
            self._going_on.discard(alert_id)

    def offer(self, clip: Clip) -> bool:
        """Take a clip to be written; where too many wait already, give it up and return False."""
        with self._changed:
            full = len(self._queue) >= _MOST_WAITING or (
                self._queue and self._queued_bytes + clip.nbytes > _MOST_WAITING_BYTES
            )
            if not full and not self._closing:
                self._queue.append(clip)
                self._queued_bytes += clip.nbytes
                self._changed.notify_all()
                return True
        why = "clips wait to be written faster than the disk takes them" if full else "the daemon has stopped"
        self.give_up(clip.stream, str(clip.alert["alert_id"]), why)
        return False

    def waits(self, alert_id: str) -> bool:
        """Whether a clip of an alert was taken and is not on the disk yet."""
        with self._changed:
            return any(clip.alert["alert_id"] == alert_id for clip in self._queue)

    def give_up(self, stream: str, alert_id: str, reason: str) -> None:
        """Count and say that there is no clip of an alert."""
        with self._changed:
            self.given_up += 1
        _log.error("no clip of alert %s on stream %s: %s", alert_id, stream, reason)
        self._say("failed", reason, stream=stream, alert_id=alert_id)

    def finish(self) -> None:
        """Write what waits, then end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def facts(self) -> dict[str, Any]:
        """Return what a heartbeat says of it; may be called from any thread."""
        return {
            "state": self.state,
            "reason": self.reason,
            "clips": self._folder.clips,
            "bytes": self._folder.nbytes,
            "waiting": len(self._queue),
            "written": self.written,
            "given_up": self.given_up,
            "removed": self.removed,
        }

    def run(self) -> None:
        """Write until finished."""
        try:
            self._prepare()
        except OSError as error:
            self._failed(self._words(error))
        while True:
            with self._changed:
                if not self._queue and not self._closing:
                    self._changed.wait(_LOOK_S)
                if not self._queue and self._closing:
                    break
                clip = self._queue[0] if self._queue else None
            try:
                self._step(clip)
            except Exception:  # noqa: BLE001 - whatever it is, the next clip is tried again
                _log.exception("the keeper of clips raised")
                if clip is not None:
                    self.give_up(clip.stream, str(clip.alert["alert_id"]), "an error of streamcls itself; see its log")
            finally:
                if clip is not None:
                    with self._changed:
                        self._queue.popleft()
                        self._queued_bytes -= clip.nbytes
        self._settle()
        self._folder.close()

    def _step(self, clip: Clip | None) -> None:
        try:
            self._settle()
            self._prepare()
            self._folder.limit(max_mb=self._settings.max_mb, max_age_days=self._settings.max_age_days)
            self._expire()
            if clip is not None:
                self._keep(clip)
        except (OSError, AudioError) as error:
            reason = self._words(error) if isinstance(error, OSError) else str(error)
            if clip is None:
                self._failed(reason)
            else:
                self.state, self.reason = "failed", reason
                self.give_up(clip.stream, str(clip.alert["alert_id"]), reason)

    def _prepare(self) -> None:
        """Read the folder once, and announce the clips that were written and not announced before a crash."""
        if self._ready:
            return
        unsaid = self._folder.open()
        self._ready = True
        for clip in unsaid:
            self._announce(clip)

    def _keep(self, clip: Clip) -> None:
        facts = clip.facts()
        tags = {"title": f"{clip.stream}: {facts['label']}", "comment": f"streamcls alert {facts['alert_id']}"}
        audio = encode_flac(clip.audio.samples, facts["sample_rate"], tags)
        known = self._folder.find(clip.stream, facts["alert_id"], audio)
        if known is not None:
            self._announce(known)
            return
        with self._changed:
            going_on = set(self._going_on)
        surplus = self._folder.too_much(len(audio), going_on)
        if surplus is None:
            why = f"{len(audio)} bytes do not fit into max_mb = {self._settings.max_mb} beside the clips of open alerts"
            self.give_up(clip.stream, facts["alert_id"], why)
            return
        for old in surplus:
            self._remove(old, "max_mb")
        now = self._clock()
        stored = self._folder.store(clip.stream, facts, audio, clip.time if clip.time is not None else now, now)
        self.written += 1
        if self.state != "ok":
            self.state, self.reason = "ok", ""
            self._say("ok", "clips are written again")
        self._announce(stored)

    def _announce(self, clip: StoredClip) -> None:
        if self._publish(Event("moderation.evidence", clip.stream, clip.facts)):
            self._said.append(clip)

    def _settle(self) -> None:
        """Note what has been announced, some time after it was: by then the bus has kept it, or it is announced again."""
        said, self._said = self._said, []
        for clip in said:
            self._folder.announced(clip)

    def _expire(self) -> None:
        with self._changed:
            going_on = set(self._going_on)
        for clip in self._folder.too_old(self._clock(), going_on):
            self._remove(clip, "max_age_days")

    def _remove(self, clip: StoredClip, reason: str) -> None:
        """Say that a clip goes, then remove it: nothing is missing of which nobody was told."""
        self._folder.begin_removal(clip)
        facts = {"path": clip.path, "sha256": clip.facts["sha256"]}
        self._say("removed", reason, stream=clip.stream, alert_id=clip.facts["alert_id"], **facts)
        self._folder.remove(clip)
        self.removed += 1

    def _failed(self, reason: str) -> None:
        if (self.state, self.reason) != ("failed", reason):
            self.state, self.reason = "failed", reason
            _log.error("clips cannot be kept: %s", reason)
            self._say("failed", reason)

    def _words(self, error: OSError) -> str:
        where = error.filename or self._folder.path
        return (
            f"{where}: {error.strerror}; free some space or let the daemon's user write there, or change evidence.path"
        )

    def _say(self, state: str, reason: str, **facts: str) -> None:
        self._publish(Event("daemon.evidence", self._daemon_name, {"state": state, "reason": reason, **facts}))

    def _publish(self, event: Event) -> bool:
        """Publish, unless the bus has stopped already; a clip is then announced at the next start."""
        try:
            self._publish_event(event)
        except BusError as error:
            _log.warning("%s cannot be published: %s", event.kind, error)
            return False
        return True
