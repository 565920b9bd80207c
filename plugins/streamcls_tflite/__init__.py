"""TensorFlow Lite inference, by ai-edge-litert or by tflite-runtime."""

from __future__ import annotations

from streamcls import hookimpl
from streamcls_tflite.backends import LiteRtBackend, TfliteRuntimeBackend

__all__ = ["register_backends"]


@hookimpl
def register_backends() -> list[type]:
    """Offer both runtimes."""
    return [LiteRtBackend, TfliteRuntimeBackend]
