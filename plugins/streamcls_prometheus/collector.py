"""The figures as metrics, named by https://prometheus.io/docs/practices/naming/: base units, ``_total`` for counts, bounded labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.registry import Collector

from streamcls_prometheus.figures import STREAM_STATES, number, table

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric

    from streamcls_prometheus.figures import Figures

__all__ = ["FigureCollector"]

_SOURCE_STATES: Final = ("connecting", "running", "retrying", "ended", "failed")
_SUBSCRIBER_STATES: Final = ("starting", "running", "restarting", "hung", "open", "ended")

_STREAM_TOTALS: Final = (
    ("windows", "streamcls_stream_windows", "Windows classified, of all models."),
    ("gaps", "streamcls_stream_gaps", "Holes in the audio."),
    ("lost_samples", "streamcls_stream_lost_samples", "Samples missing in these, at the source's rate."),
    (
        "dropped_samples",
        "streamcls_stream_dropped_samples",
        "Samples for which there was no room, at the source's rate.",
    ),
    ("audio_s", "streamcls_stream_audio_seconds", "Audio taken up."),
    ("busy_s", "streamcls_stream_processing_seconds", "Time that a worker spent on it."),
)
_SUBSCRIBER_TOTALS: Final = (
    ("handled", "streamcls_subscriber_handled", "Events that it took."),
    ("failed", "streamcls_subscriber_failed", "Events that it did not take."),
    ("missed", "streamcls_subscriber_missed", "Events that it was too slow for."),
    ("restarts", "streamcls_subscriber_restarts", "Times that it was begun anew."),
)
_CLIENT_TOTALS: Final = (
    ("missed", "streamcls_client_missed", "Events that it says it missed."),
    ("requests", "streamcls_client_requests", "Times it asked for the past."),
)
_MODEL_TOTALS: Final = (
    ("inferences", "streamcls_model_inferences", "Windows put to the model."),
    ("seconds", "streamcls_model_inference_seconds", "Time spent on them."),
)
_PART_TOTALS: Final = (
    ("bus", "published", "streamcls_bus_published", "Events published."),
    ("reload", "count", "streamcls_config_reloads", "Reloads, refused ones among them."),
    ("reload", "refused", "streamcls_config_reloads_refused", "Reloads that were refused."),
    ("journal", "written", "streamcls_journal_written", "Events written to the journal."),
    ("journal", "lost", "streamcls_journal_lost", "Events that the journal could not keep."),
    ("evidence", "written", "streamcls_evidence_written", "Clips written."),
    ("evidence", "given_up", "streamcls_evidence_given_up", "Clips that could not be written."),
    ("evidence", "removed", "streamcls_evidence_removed", "Clips removed for their age or the budget."),
)
_PART_GAUGES: Final = (
    ("", "uptime_s", "streamcls_uptime_seconds", "Since the daemon's start."),
    ("", "resident_bytes", "streamcls_resident_memory_bytes", "Memory of the daemon."),
    ("", "waiting", "streamcls_bus_waiting_events", "Events that wait to be published."),
    ("journal", "bytes", "streamcls_journal_bytes", "Size of the journal."),
    ("journal", "first", "streamcls_journal_first_position", "Position of the oldest event kept."),
    ("journal", "position", "streamcls_journal_position", "Position of the newest event."),
    (
        "journal",
        "unwritten",
        "streamcls_journal_unwritten_events",
        "Events kept in memory until the journal works again.",
    ),
    ("evidence", "clips", "streamcls_evidence_clips", "Clips kept."),
    ("evidence", "bytes", "streamcls_evidence_bytes", "Size of these."),
    ("evidence", "waiting", "streamcls_evidence_waiting_clips", "Clips being written."),
    ("audit", "records", "streamcls_audit_records", "Records in the audit log."),
)
_SUBSCRIBER_GAUGES: Final = (
    ("behind", "streamcls_subscriber_behind_events", "Places in the journal that it has not come to yet."),
    ("waiting", "streamcls_subscriber_waiting_events", "Events that it has taken and not delivered."),
    ("waited_s", "streamcls_subscriber_oldest_waiting_seconds", "For so long the oldest of these has waited."),
)
_WORKER_GAUGES: Final = (
    ("streams", "streamcls_worker_streams", "Streams that it has."),
    ("utilisation", "streamcls_worker_utilisation_ratio", "Share of the last seconds for which it worked."),
    ("realtime_factor", "streamcls_worker_realtime_factor", "How many times the live audio that comes it could do."),
    ("lag_s", "streamcls_worker_lag_seconds", "The most live audio that waits in one stream."),
    ("stride_factor", "streamcls_worker_stride_factor", "Only each so many-th window is classified."),
    ("shed", "streamcls_worker_shed_streams", "Streams that are given up for now because of overload."),
)
_UP: Final = (
    ("journal", "streamcls_journal_up", "1: events are kept on disk."),
    ("evidence", "streamcls_evidence_up", "1: clips can be written."),
    ("audit", "streamcls_audit_up", "1: records can be written."),
)
_MOST_COUNTERS: Final = 100
"""Of one source, or of one subscriber."""


class FigureCollector(Collector):
    """Makes the metrics at each scrape.

    Parameters
    ----------
    figures, lock
        What is shown, and what is held meanwhile.
    clock
        That of the figures.
    healthy
        Asked while the lock is held.
    """

    def __init__(
        self, figures: Figures, lock: threading.Lock, clock: Callable[[], float], healthy: Callable[[], bool]
    ) -> None:
        self._figures = figures
        self._lock = lock
        self._clock = clock
        self._healthy = healthy

    def describe(self) -> list[Metric]:
        """Return nothing: what there is depends on the daemon."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Return the metrics as of now."""
        with self._lock:
            self._figures.forget()
            return [*self._daemon(), *self._events(), *self._streams(), *self._sources(), *self._named()]

    def _daemon(self) -> Iterator[Metric]:
        figures, beat = self._figures, table(self._figures.beat)
        yield _gauge("streamcls_healthy", "1: /healthz says ok.", [((), float(self._healthy()))])
        if not beat:
            return
        build = {"version": str(beat.get("version", "")), "daemon": figures.daemon}
        yield InfoMetricFamily("streamcls_build", "The daemon that this is about.", value=build)
        age = self._clock() - figures.beat_at
        yield _gauge("streamcls_heartbeat_age_seconds", "Since the last heartbeat came.", [((), age)])
        for part, key, name, text in _PART_GAUGES:
            value = number((table(beat.get(part)) if part else beat).get(key))
            if value is not None:
                yield _gauge(name, text, [((), value)])
        for part, name, text in _UP:
            if isinstance(beat.get(part), dict):
                yield _gauge(name, text, [((), float(beat[part].get("state") == "ok"))])
        last = table(table(beat.get("reload")).get("last"))
        if last:
            text = "0: the configuration as it stands was refused by the last reload; a restart would fail."
            yield _gauge("streamcls_config_last_reload_successful", text, [((), float(last.get("state") != "refused"))])
        if isinstance(beat.get("stuck"), list):
            text = "Threads of the daemon that make no progress."
            yield _gauge("streamcls_stuck_threads", text, [((), float(len(beat["stuck"])))])
        for part, key, name, text in _PART_TOTALS:
            total = figures.totals.of((part, key))
            if total is not None:
                yield _counter(name, text, [((), total)])

    def _events(self) -> Iterator[Metric]:
        streams = self._figures.streams.items()
        kinds = [((kind,), float(n)) for kind, n in self._figures.events.items()]
        yield _counter("streamcls_events", "Events that arrived here.", kinds, "kind")
        yield _counter(
            "streamcls_alerts",
            "Alerts opened.",
            [((n, label), float(count)) for n, s in streams for label, count in s.alerts.items()],
            "stream",
            "label",
        )
        yield _gauge(
            "streamcls_alerts_open",
            "Alerts open now.",
            [((n, label), float(len(ids))) for n, s in streams for label, ids in s.open.items()],
            "stream",
            "label",
        )
        yield _counter(
            "streamcls_windows",
            "Window events that arrived here; there are none where window_events is off.",
            [((n, model), float(count)) for n, s in streams for model, count in s.windows.items()],
            "stream",
            "model",
        )

    def _streams(self) -> Iterator[Metric]:
        now, streams = self._clock(), self._figures.streams.items()
        yield _states("streamcls_stream_state", "stream", STREAM_STATES, [(n, s.state) for n, s in streams])
        ages = [((n,), now - s.window_at) for n, s in streams if s.window_at is not None]
        yield _gauge("streamcls_stream_last_window_age_seconds", "Since its last window.", ages, "stream")
        ages = [((n,), now - s.event_at) for n, s in streams]
        yield _gauge("streamcls_stream_last_event_age_seconds", "Since its last event came.", ages, "stream")
        waiting = [
            ((n,), seconds)
            for n, s in streams
            if s.over_at is None and (seconds := number(s.facts.get("waiting_s"))) is not None
        ]
        yield _gauge("streamcls_stream_waiting_seconds", "Audio that waits for its worker.", waiting, "stream")
        for key, name, text in _STREAM_TOTALS:
            totals = [((n,), self._figures.totals.of(("stream", n, key))) for n, _ in streams]
            yield _counter(name, text, [(labels, total) for labels, total in totals if total is not None], "stream")
        for key in ("peak_dbfs", "rms_dbfs"):
            levels = [
                ((n, str(channel)), decibels)
                for n, s in streams
                if s.over_at is None and isinstance(s.facts.get(key), list)
                for channel, value in enumerate(s.facts[key])
                if (decibels := number(value)) is not None
            ]
            yield _gauge(
                f"streamcls_stream_{key}", "Of the last second, relative to full scale.", levels, "stream", "channel"
            )

    def _sources(self) -> Iterator[Metric]:
        sources = self._figures.sources.items()
        yield _states("streamcls_source_state", "source", _SOURCE_STATES, [(n, s.state) for n, s in sources])
        yield _counters("source", [(n, s.counters) for n, s in sources])

    def _named(self) -> Iterator[Metric]:
        beat = table(self._figures.beat)
        subscribers = {name: table(facts) for name, facts in table(beat.get("subscribers")).items()}
        up = [((n,), float(facts.get("alive") is True)) for n, facts in subscribers.items()]
        yield _gauge("streamcls_subscriber_up", "1: it lives.", up, "subscriber")
        states = [(n, str(facts["state"])) for n, facts in subscribers.items() if "state" in facts]
        yield _states("streamcls_subscriber_state", "subscriber", _SUBSCRIBER_STATES, states)
        yield _counters("subscriber", [(n, table(facts.get("counters"))) for n, facts in subscribers.items()])
        workers = {name: table(facts) for name, facts in table(beat.get("workers")).items()}
        for label, entries, gauges in (
            ("subscriber", subscribers, _SUBSCRIBER_GAUGES),
            ("worker", workers, _WORKER_GAUGES),
        ):
            for key, name, text in gauges:
                values = [((n,), number(facts.get(key))) for n, facts in entries.items()]
                yield _gauge(name, text, [(labels, value) for labels, value in values if value is not None], label)
        groups = (
            ("subscribers", "subscriber", _SUBSCRIBER_TOTALS),
            ("clients", "client", _CLIENT_TOTALS),
            ("models", "model", _MODEL_TOTALS),
        )
        for part, label, rows in groups:
            for key, name, text in rows:
                totals = [((n,), self._figures.totals.of((part, n, key))) for n in table(beat.get(part))]
                yield _counter(name, text, [(labels, total) for labels, total in totals if total is not None], label)


def _gauge(name: str, text: str, values: Iterable[tuple[tuple[str, ...], float]], *labels: str) -> Metric:
    return _filled(GaugeMetricFamily(name, text, labels=labels), values)


def _counter(name: str, text: str, values: Iterable[tuple[tuple[str, ...], float]], *labels: str) -> Metric:
    return _filled(CounterMetricFamily(name, text, labels=labels), values)


def _counters(label: str, entries: Iterable[tuple[str, Mapping[str, Any]]]) -> Metric:
    counted = [
        ((name, str(key)), value)
        for name, counters in entries
        for key, raw in list(counters.items())[:_MOST_COUNTERS]
        if (value := number(raw)) is not None
    ]
    return _gauge(f"streamcls_{label}_counter", "What it counts, in its own words.", counted, label, "counter")


def _filled(family: Any, values: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    for labels, value in values:
        family.add_metric([_clean(label) for label in labels], value)
    return family  # type: ignore[no-any-return]


def _states(name: str, label: str, states: tuple[str, ...], entries: Iterable[tuple[str, str]]) -> Metric:
    values = [((entry, known), float(known == state)) for entry, state in entries for known in states]
    return _gauge(name, "1 for the state that it is in, 0 for the others.", values, label, "state")


def _clean(label: str) -> str:
    """Return text that is valid UTF-8, whatever JSON can hold."""
    return label.encode("utf-8", "backslashreplace").decode("utf-8")
