"""streamcls: a streaming audio classifier daemon. These names are the public face for plugin authors.

They are imported when they are first used: ``import streamcls`` itself loads nothing, so that the command line answers at once and
can prepare the process before numpy is loaded.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamcls.errors import (
        AudioError,
        BackendUnavailableError,
        BundleError,
        RetryableSourceError,
        SourceError,
        StreamclsError,
        SubscriberBusyError,
    )
    from streamcls.hookspecs import hookimpl
    from streamcls.interfaces import (
        Backend,
        BundleView,
        Classifier,
        ComponentConfig,
        Policy,
        PolicyContext,
        Source,
        SourceContext,
        Subscriber,
    )
    from streamcls.types import (
        AudioFormat,
        Chunk,
        EndOfStream,
        Event,
        FeatureWindow,
        FrontEndSpec,
        Levels,
        ModelInfo,
        Posterior,
        StreamStatus,
    )

__all__ = [
    "AudioError",
    "AudioFormat",
    "Backend",
    "BackendUnavailableError",
    "BundleError",
    "BundleView",
    "Chunk",
    "Classifier",
    "ComponentConfig",
    "EndOfStream",
    "Event",
    "FeatureWindow",
    "FrontEndSpec",
    "Levels",
    "ModelInfo",
    "Policy",
    "PolicyContext",
    "Posterior",
    "RetryableSourceError",
    "Source",
    "SourceContext",
    "SourceError",
    "StreamStatus",
    "StreamclsError",
    "Subscriber",
    "SubscriberBusyError",
    "__version__",
    "hookimpl",
]

__version__ = "0.1.0"

_HOMES = ("streamcls.errors", "streamcls.hookspecs", "streamcls.interfaces", "streamcls.types")


def __getattr__(name: str) -> Any:
    if name in __all__:
        for home in _HOMES:
            module = import_module(home)
            if name in module.__all__:
                value = globals()[name] = getattr(module, name)
                return value
    raise AttributeError(f"module 'streamcls' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
