"""The contracts between the daemon and its plugins.

They are structural: a class that has the members fits, nothing need be inherited. Each component class also has a ``name`` (what
the configuration calls it), a nested pydantic model ``Config``, and optionally ``preflight(config)``, which returns problems as
sentences without opening anything, ``binds(config)``, the endpoints that it will bind (``tcp://HOST:PORT``, ``ipc://PATH``), and
``writes(config)``, the files that nobody else should write; ``streamcls check`` calls them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from streamcls.types import Event, FeatureWindow, FloatArray, Levels, ModelInfo, Posterior, StreamItem

__all__ = [
    "Backend",
    "BundleView",
    "Classifier",
    "ComponentConfig",
    "Policy",
    "PolicyContext",
    "ResumablePolicy",
    "Source",
    "SourceContext",
    "SourceSecurity",
    "Subscriber",
]


class ComponentConfig(BaseModel):
    """Base of every component's ``Config``: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class SourceSecurity(Protocol):
    """What a source that listens on ZeroMQ uses where the daemon admits known keys only (``[security] curve``)."""

    @property
    def context(self) -> Any:
        """The ``zmq.Context`` of which its sockets have to be: others are not protected."""
        ...

    def secure_server(self, socket: Any, domain: str) -> None:
        """Make a ``zmq.Socket`` admit only keys that are good for a domain, ``ingest``; call it before the socket is bound."""
        ...

    def permits(self, frame: Any, domain: str, stream: str) -> bool:
        """Say whether the sender of a ``zmq.Frame`` may use a domain for a stream, as the keys are now."""
        ...


@dataclass(frozen=True, slots=True)
class SourceContext:
    """What the daemon tells a source.

    Attributes
    ----------
    name
        Its name in the configuration; a source of one stream names the stream so.
    state_dir
        A folder that survives restarts, for what a source may want to keep.
    marks
        By stream: the ``mark`` of the chunk from which the daemon wants to go on. A source that resumes begins there; what the
        daemon has decided already it passes over by itself.
    reached
        For the same streams: the index of the first sample that the daemon has not seen. Where a mark is of no use any more (its
        file was replaced), new audio gets indices from here on.
    security
        For sources that listen on ZeroMQ, where the daemon admits known keys only; else None.
    """

    name: str
    state_dir: Path
    marks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reached: Mapping[str, int] = field(default_factory=dict)
    security: SourceSecurity | None = None


@dataclass(frozen=True, slots=True)
class PolicyContext:
    """What the daemon tells a policy.

    Attributes
    ----------
    policy
        Its name in the configuration.
    origin
        Distinguishes indices that start over (a live source after a restart of the daemon); part of each id's hash.
    """

    policy: str
    stream: str
    model: ModelInfo
    origin: str = ""


@runtime_checkable
class Source(Protocol):
    """Delivers audio. Constructed as ``cls(config, context)``, by a reload on another thread than the main one; used by one of its own.

    ``live`` says what happens when the daemon is behind: a live source's chunks are dropped and become a gap; any other source is
    blocked until there is room.

    A source that can deliver again what it delivered has one attribute more, ``resumes = True``, and puts a ``mark`` on its chunks
    (every half second of audio at the least); made with such a mark in ``context.marks`` it begins there. Without the attribute
    its streams begin anew after a restart of the daemon.
    """

    name: ClassVar[str]
    Config: ClassVar[type[BaseModel]]
    live: bool

    def items(self, stop: threading.Event) -> Iterator[StreamItem]:
        """Yield what happens on the source's streams until ``stop`` is set or the audio is over.

        Chunks of one stream carry rising indices; a hole in them is a gap. The iterator must look at ``stop`` at least every
        half second. A :class:`~streamcls.errors.RetryableSourceError` makes the daemon call ``items`` again, after a pause, on
        the same object; a :class:`~streamcls.errors.SourceError` ends the source.
        An item counts as delivered when the next one is asked for.
        """
        ...


class BundleView(Protocol):
    """What a backend may see of a bundle: its verified bytes and how they are to be read."""

    @property
    def path(self) -> Path:
        """The bundle's folder, for messages."""
        ...

    @property
    def model_bytes(self) -> bytes:
        """The model file, already checked against its hash."""
        ...

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the model's input tensor, batch of one included."""
        ...

    @property
    def n_labels(self) -> int:
        """Number of outputs."""
        ...

    @property
    def output_name(self) -> str | None:
        """Name of the output tensor, where the model has several."""
        ...


@runtime_checkable
class Classifier(Protocol):
    """One loaded model. Used by one thread at a time, never shared between workers."""

    def logits(self, window: FeatureWindow) -> FloatArray:
        """Return the outputs before activation and calibration, shape (n_labels,), float32.

        A pure function of its window: recurrent state is reset before every call.
        """
        ...

    def close(self) -> None:
        """Free what it holds. Called once, by the thread that used it."""
        ...


@runtime_checkable
class Backend(Protocol):
    """Loads models. Constructed as ``cls()``; raises ``BackendUnavailableError`` from ``load`` with the reason where it cannot work."""

    name: ClassVar[str]

    def load(self, bundle: BundleView) -> Classifier:
        """Load a bundle's model; raise ``BundleError`` where the model does not fit its bundle."""
        ...

    @classmethod
    def unavailable(cls) -> str:
        """Return why the backend cannot work here and what to install, or an empty string. Loads nothing heavy."""
        ...


@runtime_checkable
class Policy(Protocol):
    """Turns the opinions of one model on one stream into events. Constructed as ``cls(config, context)``.

    Called by the stream's worker only. It knows samples, never a clock. The same input gives the same events.
    """

    name: ClassVar[str]
    Config: ClassVar[type[BaseModel]]

    @classmethod
    def accepts(cls, config: Any, model: ModelInfo) -> bool:
        """Say whether a policy of this configuration listens to the model."""
        ...

    def update(self, item: Posterior | Levels) -> list[Event]:
        """Take the next opinion, in order of time."""
        ...

    def gap(self, first_sample: int, end_sample: int) -> list[Event]:
        """Learn that the samples from ``first_sample`` up to ``end_sample`` (exclusive) are missing."""
        ...

    def close(self, at_sample: int, reason: str) -> list[Event]:
        """Close what is open; nothing is called afterwards."""
        ...


@runtime_checkable
class ResumablePolicy(Policy, Protocol):
    """A policy that goes on over a restart of the daemon as if there had been none.

    One without these members begins anew, and what it had open is closed with the reason ``daemon_lost``.
    """

    def state(self) -> Mapping[str, Any]:
        """Return all that it remembers as JSON values (numbers exactly), such that ``restore`` makes an equal policy of a new one."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state`` of a policy of the same configuration and model returned; raise ``ValueError`` where it does not fit."""
        ...


@runtime_checkable
class Subscriber(Protocol):
    """Consumes events, in the daemon or alone. Constructed as ``cls(config)``; used by one thread of its own.

    After a restart it is given what it has missed. One to which the past means nothing, such as a meter, has the attribute
    ``catches_up = False`` and begins with what is published now.
    """

    name: ClassVar[str]
    Config: ClassVar[type[BaseModel]]

    def handle(self, event: Mapping[str, Any]) -> None:
        """Take one event: the CloudEvents envelope as it is on the wire. May block; nobody else waits for it.

        What has been taken when this returns is not given again. A :class:`~streamcls.errors.SubscriberBusyError` has the event offered
        again until it is taken; any other exception three times, after which it is set aside.
        """
        ...

    def close(self) -> None:
        """Write out and free what it holds."""
        ...
