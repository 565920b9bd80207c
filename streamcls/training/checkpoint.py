"""Keeping each finished epoch, so that a run that was broken off can go on."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any, Final
from zipfile import BadZipFile

import numpy as np

from streamcls.errors import TrainingError
from streamcls.training.progress import note
from streamcls.training.tensorflow import load_tensorflow

if TYPE_CHECKING:
    from pathlib import Path

    from streamcls.training.fit import Trained
    from streamcls.training.sampling import Sampler

__all__ = ["Checkpoint"]

_STATE: Final = "state.json"


class Checkpoint:
    """One epoch's state in a folder: weights, optimiser, generator, curves.

    Parameters
    ----------
    folder
        Made when first needed.
    identity
        What must be the same for a run to go on: a digest of recipe and data.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self._folder = folder
        self._identity = identity

    def prepare(self, *, resume: bool, restart: bool) -> None:
        """Keep what lies there for :meth:`restore`, or discard it.

        Parameters
        ----------
        resume
            Whether to go on with it; says so on stderr where there is nothing to go on with.
        restart
            Whether to begin anew whatever lies there. Without both, only a run of another recipe or other data is discarded, which is
            said on stderr.

        Raises
        ------
        TrainingError
            To be resumed, but of another recipe or other data, or damaged; or of this very run, and neither was asked for. Nothing has
            been touched then.
        """
        if not (self._folder / _STATE).is_file():
            if resume:
                note(f"{self._folder}: no unfinished run to go on with, so this one begins anew")
        elif resume:
            self._facts()
            return
        elif not restart:
            if self._is_same():
                raise TrainingError(
                    f"{self._folder} is an unfinished run of this recipe and data: go on with it (--resume) or discard it (--restart)"
                )
            note(f"{self._folder}: the unfinished run of another recipe or other data is discarded")
        shutil.rmtree(self._folder, ignore_errors=True)

    def save(self, state: Trained, sampler: Sampler) -> None:
        """Keep the epoch that has just ended; an earlier one stays until this one is whole."""
        made = self._folder.with_name(self._folder.name + ".part")
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        self._tensors(state).write(str(made / "tensors"))
        np.savez(made / "best.npz", *state.best_weights)
        facts = {
            "identity": self._identity, "curves": state.curves, "best": state.best, "best_epoch": state.best_epoch,
            "epochs_done": state.epochs_done, "generator": sampler.getstate(),
        }  # fmt: skip
        (made / _STATE).write_text(json.dumps(facts), "utf-8")
        old = self._folder.with_name(self._folder.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        if self._folder.exists():
            self._folder.rename(old)
        made.rename(self._folder)
        shutil.rmtree(old, ignore_errors=True)

    def restore(self, state: Trained, sampler: Sampler) -> None:
        """Go on where the kept epoch ended; nothing happens where there is none.

        Raises
        ------
        TrainingError
            It is of another recipe or other data, or damaged.
        """
        if not (self._folder / _STATE).is_file():
            return
        facts, tf = self._facts(), load_tensorflow()
        try:
            self._tensors(state).read(str(self._folder / "tensors")).assert_existing_objects_matched()
            with np.load(self._folder / "best.npz") as kept:
                state.best_weights = [kept[name] for name in kept.files]
            state.curves, state.best, state.best_epoch = facts["curves"], facts["best"], facts["best_epoch"]
            state.epochs_done = facts["epochs_done"]
            sampler.setstate(facts["generator"])
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            IndexError,
            AssertionError,
            BadZipFile,
            tf.errors.OpError,
        ) as error:
            raise self._damaged(error) from error

    def _facts(self) -> dict[str, Any]:
        """Read what was kept beside the tensors, and make sure that it is of this run."""
        try:
            facts: dict[str, Any] = json.loads((self._folder / _STATE).read_text("utf-8"))
            same = facts["identity"] == self._identity
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._damaged(error) from error
        if not same:
            raise TrainingError(
                f"{self._folder} is of another recipe or other data: discard it (--restart) or train elsewhere (--output)"
            )
        return facts

    def _is_same(self) -> bool:
        try:
            self._facts()
        except TrainingError:
            return False
        return True

    def _damaged(self, error: Exception) -> TrainingError:
        return TrainingError(f"{self._folder} cannot be read ({error}): discard it and begin anew (--restart)")

    @staticmethod
    def _tensors(state: Trained) -> Any:
        return load_tensorflow().train.Checkpoint(model=state.whole, optimiser=state.optimiser)
