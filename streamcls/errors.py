"""What can go wrong, one class per layer. Every message names the culprit and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "AudioError",
    "BackendUnavailableError",
    "BundleError",
    "BusError",
    "ConfigError",
    "FrontEndError",
    "PluginError",
    "Problem",
    "RetryableSourceError",
    "SourceError",
    "StreamclsError",
    "SubscriberBusyError",
    "TrainingError",
]


class StreamclsError(Exception):
    """The root of every error that streamcls raises on purpose."""


class AudioError(StreamclsError):
    """Audio that cannot be decoded, converted or resampled."""


class FrontEndError(StreamclsError):
    """A front end that cannot be computed with the given parameters."""


class BundleError(StreamclsError):
    """A model bundle that is damaged, mismatched or of an unknown version."""


class BackendUnavailableError(StreamclsError):
    """An inference backend whose library is missing or does not work here; the reason is the message."""


class SourceError(StreamclsError):
    """A source that cannot deliver audio and will not by itself: it is reported and abandoned."""


class RetryableSourceError(SourceError):
    """A source that may recover (device unplugged, server away): it is opened again with back-off."""


class BusError(StreamclsError):
    """The event bus cannot bind, connect or understand what it received."""


class PluginError(StreamclsError):
    """A plugin that could not be loaded or used."""


class SubscriberBusyError(StreamclsError):
    """A subscriber that can take no event now and will later: the event is offered again until it is taken.

    For whatever is not the event's fault: a server that is away, a disk that is full.
    """


class TrainingError(StreamclsError):
    """A corpus, recipe or network that cannot be trained."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a configuration.

    Attributes
    ----------
    where
        The key in the file's own notation, e.g. ``source[0] "radio-1".url``.
    what
        What is wrong, naming the value and the expectation.
    hint
        What to do, e.g. ``did you mean "sample_rate"?``; empty when there is nothing better to say.
    line
        Where it stands in the file, from 1; None where that is not known.
    """

    where: str
    what: str
    hint: str = ""
    line: int | None = None

    @property
    def place(self) -> str:
        """Where it is: the line, where that is known, and the key."""
        return self.where if self.line is None else f"line {self.line}: {self.where}"

    def __str__(self) -> str:
        return f"{self.place}: {self.what}" + (f" ({self.hint})" if self.hint else "")


class ConfigError(StreamclsError):
    """A configuration that cannot be used, with all of its problems at once."""

    def __init__(self, problems: list[Problem], path: str = "") -> None:
        self.problems = problems
        self.path = path
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        head = f"{path}: {count}" if path else count
        super().__init__("\n".join([head, *(f"  {problem}" for problem in problems)]))
