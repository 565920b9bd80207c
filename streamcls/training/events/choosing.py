"""Thresholds by what they cost: the lowest that keep false alerts at or below a rate, on validation programmes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from streamcls.errors import TrainingError
from streamcls.training.events.matching import SECONDS_PER_HOUR
from streamcls.training.events.measure import listening, sources_in
from streamcls.training.events.sweep import choose_thresholds, replay, sweep_together, threshold_grid
from streamcls.training.programme.material import BED_LABELS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from streamcls.training.corpora import Clip
    from streamcls.training.events.measure import Heard
    from streamcls.training.programme.files import Programme
    from streamcls.types import ModelInfo

__all__ = ["LOWEST_THRESHOLD", "Choice", "check_material", "check_model", "choose", "followed_labels"]

LOWEST_THRESHOLD: Final = 0.2
"""No threshold is chosen below it, however few false alerts that would raise: an open alert stays open down to 0.6 of its threshold,
and below about a tenth a posterior says little more than that something is to be heard."""
_STEPS: Final = 49
"""Of the grid from -5 to 7, in logits: a quarter from one threshold to the next."""
_POLICY: Final = "moderation"
_SPLIT: Final = "valid"


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen, and on what.

    Attributes
    ----------
    rate
        False alerts per hour and label that were allowed.
    hours
        Of all programmes together.
    programmes
        Name, recipe, split, seed, length and hashes of each, as JSON values.
    rows
        By label, the row of the sweep at the threshold that was chosen.
    swept
        All rows, as :func:`~streamcls.training.events.sweep.sweep_together` returns them.
    """

    rate: float
    hours: float
    programmes: tuple[dict[str, Any], ...]
    rows: dict[str, dict[str, Any]]
    swept: dict[str, list[dict[str, Any]]]

    @property
    def thresholds(self) -> dict[str, float]:
        """The thresholds, by label."""
        return {label: float(row["threshold"]) for label, row in self.rows.items()}

    @property
    def missed(self) -> tuple[str, ...]:
        """Labels of which even the highest threshold raises more false alerts; they have the highest."""
        return tuple(label for label, row in self.rows.items() if _false_rate(row) > self.rate)

    @property
    def without_events(self) -> tuple[str, ...]:
        """Labels of which the programmes have no event, so that nothing is known of their recall."""
        return tuple(label for label, row in self.rows.items() if not row["events"])


def check_model(info: ModelInfo) -> None:
    """Make sure that the moderation policy listens to a model.

    Raises
    ------
    TrainingError
        It does not. A model that needs a map has its thresholds in the configuration, as ``enter`` of a rule.
    """
    if info.task != _POLICY or _POLICY not in listening(info, {}):
        raise TrainingError(
            f"{info.name} has the task {info.task!r}, and alerts with thresholds are of the task {_POLICY!r}; a model whose labels are "
            "mapped in a configuration has its thresholds there, as [policy.moderation.labels.LABEL] enter"
        )


def check_material(programme: Programme, clips: Iterable[Clip] | None, *, allow_test: bool = False) -> list[str]:
    """Make sure that a programme is one to choose thresholds on.

    Parameters
    ----------
    clips
        Of the bundle's own recipe; None where they cannot be read, and then the programme's own word is all there is.
    allow_test
        Whether a programme that holds test material is taken all the same, with a remark.

    Returns
    -------
    Remarks for the user.

    Raises
    ------
    TrainingError
        It is made of another split than the validation split, or of test recordings of the bundle's recipe.
    """
    name, split = programme.folder, programme.facts["options"].get("split")
    remarks, known = [], list(clips or ())
    tested, trained = sources_in(programme, known, "test"), sources_in(programme, known, "train")
    reason = ""
    if split != _SPLIT:
        reason = f"{name} was made of the split {split!r}"
    elif tested:
        reason = f"{name} holds {len(tested)} recordings of the model's test split, {tested[0]} first"
    if reason and not allow_test:
        raise TrainingError(
            f"{reason}: a threshold chosen on test material makes every figure measured there worthless; "
            "make a programme with streamcls programme --split valid"
        )
    if reason:
        remarks.append(f"{reason}: what is measured there with these thresholds is no test any more")
    if trained:
        remarks.append(
            f"{name}: {len(trained)} of its sources were in the model's training split, {trained[0]} first: the recall will look too good"
        )
    return remarks


def followed_labels(heard: Heard) -> tuple[str, ...]:
    """Return the model's labels that the policy has a rule for: those that raise an alert if everything is enough for one."""
    alerts = replay(heard, dict.fromkeys(heard.info.labels, 0.0))
    found = {alert.label for alert in alerts} - BED_LABELS
    return tuple(label for label in heard.info.labels if label in found)


def choose(heards: Sequence[Heard], rate: float, lowest: float = LOWEST_THRESHOLD) -> Choice:
    """Choose a threshold per label that the moderation policy follows: the lowest from which on the false alerts stay at ``rate`` or below.

    The rate is what was counted; how much it may be off says the interval of each row (Garwood 1936). A label without an event in the
    programmes gets no lower threshold than it had: that little was mistaken for it says nothing of what would be found.

    Parameters
    ----------
    heards
        What one bundle made of each programme, with the policy's built-in rules.
    rate
        False alerts per hour and label, 0 or more.
    lowest
        No threshold is below it; 0 to 1.

    Raises
    ------
    TrainingError
        The policy follows none of the labels.
    """
    labels = followed_labels(heards[0])
    if not labels:
        info = heards[0].info
        raise TrainingError(f"the moderation policy has no rule for any label of {info.name}: {', '.join(info.labels)}")
    grid = [lowest, *(threshold for threshold in threshold_grid(_STEPS) if threshold > lowest)]
    swept = sweep_together(heards, labels, grid)
    chosen = choose_thresholds(_no_lower_unheard(swept, heards[0].info), rate)
    rows = {label: next(row for row in swept[label] if row["threshold"] == chosen[label]) for label in labels}
    hours = sum(heard.programme.seconds for heard in heards) / SECONDS_PER_HOUR
    return Choice(rate, round(hours, 3), tuple(_facts(heard.programme) for heard in heards), rows, swept)


def _no_lower_unheard(swept: Mapping[str, list[dict[str, Any]]], info: ModelInfo) -> dict[str, list[dict[str, Any]]]:
    """Leave out, of labels without an event, the thresholds below the one that the bundle states."""
    kept = {}
    for label, rows in swept.items():
        least = 0.0 if rows[0]["events"] else info.thresholds.get(label, 0.0)
        kept[label] = [row for row in rows if row["threshold"] >= least] or rows[-1:]
    return kept


def _false_rate(row: Mapping[str, Any]) -> float:
    return float(row["false_alerts_per_hour"] or 0.0)


def _facts(programme: Programme) -> dict[str, Any]:
    facts, options = programme.facts, programme.facts["options"]
    return {
        "folder": programme.folder.name,
        "recipe": f"{facts['recipe']['name']} {facts['recipe']['version']}",
        "split": options.get("split"),
        "seed": options.get("seed"),
        "hours": round(programme.seconds / SECONDS_PER_HOUR, 3),
        "events": len(programme.truth),
        "audio_sha256": [entry["sha256"] for entry in facts["audio"]],
    }
