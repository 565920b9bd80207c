"""What stands beside a bundle: other bundles, its float network, a baseline; and music on which they can agree."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from streamcls.errors import TrainingError
from streamcls.inference import load_bundle
from streamcls.training.corpora import read_corpus
from streamcls.training.evaluation.baseline import train_baseline
from streamcls.training.evaluation.candidates import bundle_candidate
from streamcls.training.evaluation.compare import with_means
from streamcls.training.evaluation.labelmap import load_label_map, ready_label_map, weighed_map
from streamcls.training.evaluation.quantised import float_candidate
from streamcls.training.recipe_tables import CorpusTable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import ExitStack

    from streamcls.inference import Bundle
    from streamcls.interfaces import Backend
    from streamcls.training.corpora import Clip
    from streamcls.training.evaluation.candidates import Candidate

__all__ = ["READY_MAP", "Peers", "line_up", "music_of"]

READY_MAP: Final = "audioset"
_ACTIVE_WITHIN_DB: Final = 40.0


@dataclass(frozen=True, slots=True)
class Peers:
    """What stands beside a bundle.

    Attributes
    ----------
    bundles
        Folders.
    maps
        How a bundle's labels become the subject's, by the bundle's name or, for all others, an empty string: the path of a label map,
        or the name of the ready map. The latter is also what a bundle gets that has none of the subject's labels.
    float_file
        A ``.keras`` file of the subject's float network.
    baseline
        Whether a support vector machine is trained.
    background
        Labels that mean none of the others; None for those that each bundle states.
    """

    bundles: Sequence[Path] = ()
    maps: Mapping[str, str] = field(default_factory=dict)
    float_file: Path | None = None
    baseline: bool = False
    background: tuple[str, ...] | None = None


def line_up(
    bundle: Bundle, peers: Peers, backend: Backend, clips: Sequence[Clip], *, cache: Path, stack: ExitStack
) -> list[Candidate]:
    """Load everything and return the candidates, the bundle itself first; ``stack`` closes their classifiers.

    A bundle with a map gives several where labels exclude each other: its plain scores; those divided by their means over the validation
    split; and, with the ready map, what the daemon's policies make of them. A
    bundle of a name that stands there already goes by its folder's, and its map may be given by either.
    """
    classifier = backend.load(bundle)
    stack.callback(classifier.close)
    subject = bundle_candidate(bundle, classifier, background=peers.background)
    candidates = [subject]
    if peers.float_file is not None:
        candidates.append(float_candidate(subject, bundle.n_labels, peers.float_file))
    if peers.baseline:
        candidates.append(train_baseline(subject, clips, cache))
    for path in peers.bundles:
        other = load_bundle(path)
        runner = backend.load(other)
        stack.callback(runner.close)
        name = _own_name(other, {candidate.name for candidate in candidates})
        mapping = next((peers.maps[key] for key in (name, other.name, "") if key in peers.maps), "")
        if mapping or not set(other.labels) & set(subject.labels):
            candidates += _mapped(other, runner, subject, mapping or READY_MAP, (clips, cache), name)
        else:
            candidates.append(bundle_candidate(other, runner, name=name, background=peers.background))
    return candidates


def _own_name(bundle: Bundle, taken: set[str]) -> str:
    """Return the bundle's name; where that is taken its folder's, and where that is taken too, the folder with the one it lies in."""
    folder = bundle.path.resolve()
    names = (bundle.name, folder.name, f"{folder.parent.name}/{folder.name}")
    return next((name for name in names if name not in taken), str(folder))


def _mapped(  # noqa: PLR0917 - all of them make the candidates
    bundle: Bundle, classifier: Any, subject: Candidate, mapping: str, data: tuple[Sequence[Clip], Path], name: str
) -> list[Candidate]:
    task = "genre" if subject.exclusive else "moderation"
    if mapping == READY_MAP:
        label_map = ready_label_map(bundle, READY_MAP, task)
    else:
        label_map = load_label_map(Path(mapping))
        label_map.check(bundle.labels, bundle.name)
    plain = bundle_candidate(bundle, classifier, label_map=label_map, name=name, exclusive=subject.exclusive)
    made = [plain]
    if subject.exclusive:
        by_means = with_means(plain, *data)
        made += [by_means] if by_means is not None else []
        if mapping == READY_MAP:
            policy, title = weighed_map(bundle, READY_MAP, task), f"{name} (daemon)"
            made.append(bundle_candidate(bundle, classifier, label_map=policy, name=title, exclusive=True))
    return made


def music_of(value: str, labels: tuple[str, ...], clips: Sequence[Clip]) -> dict[str, list[Clip]]:
    """Read music of which no label is known, by where it comes from.

    Parameters
    ----------
    value
        A corpus among ``clips`` by its name, which is told apart by whether training saw it; or ``[NAME=]PATH`` of a folder or a manifest.

    Raises
    ------
    TrainingError
        It is neither.
    """
    unlabelled = [clip for clip in clips if set(labels) <= set(clip.unknown)]
    own = [clip for clip in unlabelled if clip.corpus == value]
    if own:
        unseen = [clip for clip in own if clip.split == "test"]
        seen = [clip for clip in own if clip.split != "test"]
        return {f"{value}, unseen": unseen, f"{value}, seen in training": seen}
    name, separator, path = value.partition("=")
    place = Path(path if separator else value)
    if not place.exists():
        known = ", ".join(sorted({clip.corpus for clip in unlabelled})) or "none"
        raise TrainingError(f"--music {value}: no file or folder, and no corpus without labels: there is {known}")
    table = CorpusTable(
        name="music",
        path=str(place),
        layout="manifest" if place.is_file() else "folder",
        labels={"*": ("?*",)},
        active_within_db=_ACTIVE_WITHIN_DB,
    )
    return {name if separator else place.stem: read_corpus(table, labels, {"music": place})}
