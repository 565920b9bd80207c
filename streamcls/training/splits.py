"""Which recording trains, validates and tests: decided once per group, never per clip."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from streamcls.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streamcls.training.corpora import Clip

__all__ = ["SPLITS", "Split", "check_no_leak", "split_of_group"]

Split: TypeAlias = Literal["train", "valid", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "valid", "test")
_TRAIN_SHARE: Final = 0.70
_VALID_SHARE: Final = 0.15
_DIGITS: Final = 8


def split_of_group(group: str) -> Split:
    """Draw a group's split from the hash of its name: 70 % train, 15 % valid, 15 % test.

    The same name gives the same split in every corpus, so that a recording which two corpora took from one place stays together.
    """
    drawn = int(hashlib.sha256(group.encode()).hexdigest()[:_DIGITS], 16) / 16**_DIGITS
    if drawn < _TRAIN_SHARE:
        return "train"
    return "valid" if drawn < _TRAIN_SHARE + _VALID_SHARE else "test"


def check_no_leak(clips: Iterable[Clip]) -> None:
    """Make sure that no group, and no file, lies in two splits.

    Raises
    ------
    TrainingError
        Names the group, its splits, and a clip on either side.
    """
    groups: dict[str, Clip] = {}
    files: dict[str, Clip] = {}
    for clip in clips:
        for seen, key, what in ((groups, clip.group, "group"), (files, clip.key, "file")):
            first = seen.setdefault(key, clip)
            if first.split != clip.split:
                raise TrainingError(
                    f"{what} {key!r} leaks: {first.key} ({first.corpus}) is in {first.split}, {clip.key} ({clip.corpus}) in "
                    f"{clip.split}; one recording or artist belongs to one split, so give both the same, or another group"
                )
