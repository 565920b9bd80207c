"""What a bundle is worth by event: a programme goes through the daemon's pipeline and policies, and the findings meet the truth."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pydantic import ValidationError

from streamcls.config.resolve import ResolvedComponent
from streamcls.decision import label_map
from streamcls.errors import TrainingError
from streamcls.inference import load_bundle
from streamcls.interfaces import ComponentConfig, PolicyContext
from streamcls.plugins import discover
from streamcls.runtime.models import LoadedModel, StreamPlan
from streamcls.runtime.offline import OfflinePool, classify_chunks
from streamcls.training.events.broadcast import by_broadcast
from streamcls.training.events.genre import genre_figures, genre_segments_of
from streamcls.training.events.intervals import rate, wilson_interval
from streamcls.training.events.matching import EARLY_S, LATE_S, SECONDS_PER_HOUR, Bed, alert_figures, alerts_of
from streamcls.training.programme.files import read_programme
from streamcls.training.programme.material import BED_LABELS
from streamcls.types import Posterior

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from streamcls.decision import LabelMap
    from streamcls.training.corpora import Clip
    from streamcls.training.programme.files import Programme
    from streamcls.training.splits import Split
    from streamcls.types import Chunk, Event, Levels, ModelInfo

__all__ = [
    "Heard",
    "evaluate_programme",
    "figures_of",
    "hear",
    "listening",
    "mapped_options",
    "sources_in",
    "sources_in_training",
]

_POLICIES: Final = ("genre", "moderation")
_STREAM: Final = "programme"
_FIRST_SOURCES: Final = 10
"""So many of the sources that were in training are named."""


@dataclass(slots=True)
class Heard:
    """What a bundle made of a programme.

    Attributes
    ----------
    events
        Every phase of every segment and alert, as the pipeline gave them.
    posteriors
        Of every window, in order: enough to run a policy again.
    policies
        Those that listen to the bundle, by name.
    """

    programme: Programme
    info: ModelInfo
    stream: str = _STREAM
    events: list[Event] = field(default_factory=list)
    posteriors: list[Posterior] = field(default_factory=list)
    policies: dict[str, ResolvedComponent] = field(default_factory=dict)

    def map_of(self, policy: str) -> LabelMap | None:
        """Return how a policy gathers the model's labels under its own; None where it does not listen."""
        part = self.policies.get(policy)
        return None if part is None else label_map(self.info, getattr(part.config, "map", {}), policy)

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of events that are reported: of the truth, of the alerts, and those that the model, its map and thresholds name."""
        mapping = self.map_of("moderation")
        if mapping is None:
            return ()
        stated = {*mapping.thresholds, *self.info.thresholds, *self.programme.facts["recipe"]["labels"]}
        named = stated & set(mapping.labels)
        raised = {event.data["label"] for event in self.events if event.kind == "moderation.alert"}
        return tuple(sorted((named - BED_LABELS) | {event.label for event in self.programme.truth} | raised))

    def threshold_of(self, label: str) -> float | None:
        """Return the threshold in force: the rule's own, else the bundle's, else the map's, None where none states one."""
        part, mapping = self.policies.get("moderation"), self.map_of("moderation")
        if part is None or mapping is None:
            return self.info.thresholds.get(label)
        stated: float | None = getattr((getattr(part.config, "labels", None) or {}).get(label), "enter", None)
        return {**mapping.thresholds, **self.info.thresholds}.get(label) if stated is None else stated


class _Recorder:
    """A policy that says nothing and keeps every posterior."""

    name: ClassVar[str] = "recorder"
    Config = ComponentConfig

    def __init__(self, kept: list[Posterior]) -> None:
        self._kept = kept

    @classmethod
    def accepts(cls, _config: ComponentConfig, _model: ModelInfo) -> bool:
        """Listen to every model."""
        return True

    def update(self, item: Posterior | Levels) -> list[Event]:
        """Keep a posterior."""
        if isinstance(item, Posterior):
            self._kept.append(item)
        return []

    def gap(self, _first_sample: int, _end_sample: int) -> list[Event]:
        """Do nothing."""
        return []

    def close(self, _at_sample: int, _reason: str) -> list[Event]:
        """Do nothing."""
        return []


def hear(
    bundle_path: Path, programme: Programme, *, backend: str = "litert", policy_options: Mapping[str, Mapping[str, Any]] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Heard:  # fmt: skip
    """Run a bundle over a programme, through the daemon's pipeline with the daemon's policies.

    Parameters
    ----------
    policy_options
        What would stand in ``[policy.NAME]`` of a configuration, by name; the policies' own settings by default.
    progress
        Told the length of each chunk in seconds.

    Raises
    ------
    TrainingError
        No policy listens to the bundle, the options are wrong, or there is no such backend.
    BundleError, AudioError
        The bundle or the programme's audio cannot be used.
    """
    registry = discover()
    bundle = load_bundle(bundle_path)
    if backend not in registry.backends:
        raise TrainingError(f"{backend!r} is no backend; there is {', '.join(sorted(registry.backends)) or 'none'}")
    model = LoadedModel(bundle.name, bundle, registry.backends[backend](), bundle.manifest.window.stride_frames)
    heard = Heard(programme, model.info)
    heard.policies = listening(model.info, policy_options or {})
    recorder = _Recorder(heard.posteriors)
    parts = (
        *heard.policies.values(),
        ResolvedComponent("recorder", "recorder", lambda *_: recorder, ComponentConfig()),
    )
    plan = StreamPlan(((model, parts),), {})
    pool = OfflinePool()

    def told(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        for chunk in chunks:
            if progress is not None:
                progress(len(chunk.samples) / chunk.sample_rate)
            yield chunk

    try:
        found = classify_chunks(_STREAM, told(programme.chunks(_STREAM)), plan, pool)
        heard.events = [event for event in found if "phase" in event.data]
    finally:
        pool.close()
    return heard


def listening(info: ModelInfo, options: Mapping[str, Mapping[str, Any]]) -> dict[str, ResolvedComponent]:
    """Return the policies that listen to a model, by name.

    Raises
    ------
    TrainingError
        None does, or the options do not fit a policy or the model.
    """
    known = discover().policies
    parts = {}
    for name in _POLICIES:
        component: Any = known.get(name)
        if component is None:
            continue
        try:
            config = component.Config.model_validate(dict(options.get(name, {})))
            if component.accepts(config, info):
                component(config, PolicyContext(name, _STREAM, info))
                parts[name] = ResolvedComponent(name, name, component, config)
        except ValidationError as error:
            raise TrainingError(f"policy.{name}: {error}") from error
        except ValueError as error:
            raise TrainingError(f"policy.{name} and {info.name}: {error}") from error
    if not parts:
        raise TrainingError(
            f"no policy listens to {info.name}, whose task is {info.task}: name it with models = [{info.name!r}] in the policy's options, "
            "or say what its labels mean (evaluate --map audioset)"
        )
    return parts


def mapped_options(info: ModelInfo, setting: Mapping[str, str] | str) -> dict[str, dict[str, Any]]:
    """Return options with which the policies listen to a model whatever its task, and map its labels.

    Parameters
    ----------
    setting
        A policy's ``map``. Of a ready map, each policy for whose labels the model has a class takes its own part; a table is for the
        policy of the model's task, or for moderation where no policy is of that task.

    Raises
    ------
    TrainingError
        The map does not fit the model.
    """
    names = _POLICIES if isinstance(setting, str) else (info.task if info.task in _POLICIES else "moderation",)
    options: dict[str, dict[str, Any]] = {}
    reasons = []
    for name in names:
        try:
            label_map(info, setting, name)
        except ValueError as error:
            reasons.append(str(error))
        else:
            options[name] = {"models": (info.name,), "map": setting}
    if not options:
        raise TrainingError("; ".join(reasons))
    return options


def evaluate_programme(
    bundle_path: Path, programme_dir: Path, *, backend: str = "litert",
    policy_options: Mapping[str, Mapping[str, Any]] | None = None, clips: Iterable[Clip] | None = None,
    progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Measure a bundle by event on a programme and return JSON values; see :func:`hear` for the parameters and errors.

    Parameters
    ----------
    clips
        Of the bundle's own recipe: the result then says which of the programme's sources the bundle was trained on.
    """
    heard = hear(
        bundle_path, read_programme(programme_dir), backend=backend, policy_options=policy_options, progress=progress
    )
    figures = figures_of(heard)
    if clips is not None:
        figures["sources_in_training"] = sources_in_training(heard.programme, clips)
    return figures


def figures_of(heard: Heard) -> dict[str, Any]:
    """Return what :func:`evaluate_programme` does, of a programme that was heard already."""
    programme, info = heard.programme, heard.info
    facts, hours = programme.facts, programme.seconds / SECONDS_PER_HOUR
    bed = Bed(programme.bed)
    figures: dict[str, Any] = {
        "model": info.name,
        "version": info.version,
        "sha256": info.digest,
        "window_s": round(info.window_s, 3),
        "stride_s": round(info.stride_s, 3),
        "windows": len(heard.posteriors),
        "programme": {
            "folder": programme.folder.name,
            "hours": round(hours, 3),
            "recipe": facts["recipe"]["name"],
            "options": facts["options"],
            "hours_by_bed": {kind: round(part, 3) for kind, part in bed.hours.items()},
            "audio_sha256": [entry["sha256"] for entry in facts["audio"]],
        },
        "material": facts["material"],
    }
    if "moderation" in heard.policies:
        alerts = alerts_of(heard.events)
        material = facts["material"].get("event", {}).get("labels", {})
        figures["tolerance_s"] = {"before_onset": EARLY_S, "after_end": LATE_S}
        figures["alerts"] = {
            label: alert_figures(programme.truth, alerts, label, bed, hours)
            | {
                "threshold": heard.threshold_of(label),
                "distinct_hours": material.get(label, {}).get("distinct_hours", 0.0),
            }
            for label in heard.labels
        }
        figures["by_broadcast"] = by_broadcast(programme.truth, alerts, heard.labels, facts["stretches"])
        spoken = heard.map_of("moderation")
        if spoken is not None and {"speech", "music"} <= set(spoken.labels):
            figures["speech_or_music"] = _speech_or_music(heard, bed, spoken)
    if "genre" in heard.policies:
        segments = genre_segments_of(heard.events)
        mapping = heard.map_of("genre")
        genres = info.labels if mapping is None else mapping.labels
        figures["genre"] = genre_figures(programme.bed, segments, genres, programme.seconds)
    return figures


def _speech_or_music(heard: Heard, bed: Bed, mapping: LabelMap) -> dict[str, Any]:
    """Count the windows of nothing but speech or music in which the right one of both has the higher posterior."""
    speech, music = mapping.labels.index("speech"), mapping.labels.index("music")
    busy = [(event.onset_s, event.end_s) for event in heard.programme.truth]
    counts = {"speech": [0, 0], "music": [0, 0]}
    place = 0
    for posterior in heard.posteriors:
        first, end = posterior.first_sample / posterior.sample_rate, posterior.end_sample / posterior.sample_rate
        segment = bed.at(first)
        while place < len(busy) and busy[place][1] + LATE_S < first:
            place += 1
        event_near = place < len(busy) and busy[place][0] - EARLY_S < end
        if segment.kind not in counts or bed.at(end) is not segment or event_near:
            continue
        values = mapping.apply(posterior.values)
        right = values[speech] > values[music]
        counts[segment.kind][0] += int(right if segment.kind == "speech" else not right)
        counts[segment.kind][1] += 1
    hits, total = (sum(part[i] for part in counts.values()) for i in (0, 1))
    return {
        "windows": total,
        "right": rate(hits, total),
        "right_95": wilson_interval(hits, total),
        "of_speech": rate(*counts["speech"]),
        "of_music": rate(*counts["music"]),
    }


def sources_in(programme: Programme, clips: Iterable[Clip], split: Split) -> list[str]:
    """Return the paths of a programme's sources that are clips of a split, or of a recording that has one in it; sorted."""
    chosen = [clip for clip in clips if clip.split == split]
    paths, groups = {str(clip.path) for clip in chosen}, {clip.group for clip in chosen}
    sources: Sequence[dict[str, Any]] = programme.facts["sources"]
    return sorted({s["path"] for s in sources if s["path"] in paths or s["group"] in groups})


def sources_in_training(programme: Programme, clips: Iterable[Clip]) -> dict[str, Any]:
    """Return how many of a programme's sources are training clips of a recipe, or of a recording that is, and name some."""
    found = sources_in(programme, clips, "train")
    sources = {source["path"] for source in programme.facts["sources"]}
    return {"sources": len(sources), "in_training": len(found), "first": found[:_FIRST_SOURCES]}
