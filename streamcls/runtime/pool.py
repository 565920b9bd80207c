"""A worker's classifiers: one per model, shared by its streams."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from streamcls.runtime.tally import ModelTally, TalliedClassifier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from streamcls.interfaces import Classifier
    from streamcls.runtime.models import LoadedModel

__all__ = ["Classifiers"]

_log = logging.getLogger("streamcls.worker")


class Classifiers:
    """Makes each classifier when it is first asked for.

    Attributes
    ----------
    tallies
        By a model's name what it cost; a model that takes the place of another of its name goes on with its tally.
    """

    def __init__(self) -> None:
        self._made: dict[LoadedModel, Classifier] = {}
        self.tallies: dict[str, ModelTally] = {}

    def classifier(self, model: LoadedModel) -> Classifier:
        """Return the classifier of a model."""
        made = self._made.get(model)
        if made is None:
            tally = self.tallies.setdefault(model.name, ModelTally())
            made = self._made[model] = TalliedClassifier(model.classifier(), tally)
        return made

    @property
    def seconds(self) -> float:
        """Seconds spent in models so far; from any thread."""
        return sum(tally.seconds for tally in list(self.tallies.values()))

    def share(self, models: Iterable[LoadedModel]) -> float:
        """Return what models take of real time where every window is classified: 0 for those that have not classified yet."""
        shares = ((self.tallies.get(model.name), model) for model in models)
        return sum(tally.window_s / model.stride_s for tally, model in shares if tally is not None)

    def keep(self, used: Iterable[LoadedModel]) -> None:
        """Close those of all models but these."""
        wanted = set(used)
        for model in [model for model in self._made if model not in wanted]:
            try:
                self._made.pop(model).close()
            except Exception:  # noqa: BLE001 - a stranger's code: the streams that go on are not to suffer for it
                _log.exception("model %s: what is left of it cannot be freed", model.name)

    def close(self, begin: Callable[[str], object]) -> None:
        """Close all, having told ``begin`` the name of each model."""
        for model, classifier in self._made.items():
            begin(model.name)
            classifier.close()
        self._made.clear()
