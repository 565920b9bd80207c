"""The two runtimes: which one there is, and how its interpreter is made."""

from __future__ import annotations

import importlib
import importlib.util
import signal
import subprocess
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Final

from streamcls import BackendUnavailableError, BundleError
from streamcls_tflite.classifier import TfliteClassifier

if TYPE_CHECKING:
    from streamcls import BundleView

__all__ = ["LiteRtBackend", "TfliteRuntimeBackend"]

_FIRST_PYTHON_WITHOUT_TFLITE_RUNTIME: Final = (3, 12)
_FIRST_NUMPY_WITHOUT_TFLITE_RUNTIME: Final = 2


_PROBE_S: Final = 30.0
_PROBE: Final = """
import importlib, sys
interpreter = importlib.import_module(sys.argv[1]).Interpreter(model_content=sys.stdin.buffer.read(), num_threads=1)
interpreter.allocate_tensors()
interpreter.invoke()
"""


@lru_cache(maxsize=16)
def crash_of(module: str, model_bytes: bytes) -> str:
    """Let a child process load and run a model; return how it died, or an empty string where it did not.

    A runtime that does not verify a model ends the whole process on a malformed one, which no exception handler can prevent.
    """
    command = [sys.executable, "-c", _PROBE, module]
    try:
        result = subprocess.run(command, input=model_bytes, capture_output=True, timeout=_PROBE_S, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        return f"it did not answer within {_PROBE_S:.0f} s"
    return signal.Signals(-result.returncode).name if result.returncode < 0 else ""


class _Runtime:
    name: ClassVar[str]
    module: ClassVar[str]
    install: ClassVar[str]
    verifies: ClassVar[bool] = True
    """Whether it checks a model's structure before it follows pointers in it."""

    @classmethod
    def unavailable(cls) -> str:
        """Return why this runtime cannot be used here, or an empty string."""
        try:
            found = importlib.util.find_spec(cls.module) is not None
        except ModuleNotFoundError:
            found = False
        return "" if found else f"{cls.module.partition('.')[0]} is not installed: {cls.install}"

    def load(self, bundle: BundleView) -> TfliteClassifier:
        """Make a single-threaded interpreter for a bundle and check that the model fits it."""
        reason = self.unavailable()
        if reason:
            raise BackendUnavailableError(f"backend {self.name!r}: {reason}")
        try:
            module = importlib.import_module(self.module)
        except (ImportError, AttributeError, OSError) as error:
            raise BackendUnavailableError(f"backend {self.name!r}: {self.module} does not import: {error}") from error
        if not self.verifies and (crash := crash_of(self.module, bundle.model_bytes)):
            raise BundleError(
                f"{bundle.path}: {self.name} crashes on the model: {crash}; it is damaged or of another format"
            )
        try:
            interpreter: Any = module.Interpreter(model_content=bundle.model_bytes, num_threads=1)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            reason = (str(error).strip().splitlines() or ["no reason given"])[0]
            raise BundleError(f"{bundle.path}: {self.name} cannot load the model: {reason}") from error
        return TfliteClassifier(interpreter, bundle)


class LiteRtBackend(_Runtime):
    """Google's maintained runtime, ``ai-edge-litert``: the default."""

    name = "litert"
    module = "ai_edge_litert.interpreter"
    install = "pip install ai-edge-litert"


class TfliteRuntimeBackend(_Runtime):
    """Its predecessor ``tflite-runtime`` 2.14, for boxes that have it: Python 3.11 and numpy 1."""

    name = "tflite-runtime"
    module = "tflite_runtime.interpreter"
    install = "pip install 'streamcls[tflite-runtime]'"
    verifies = False

    @classmethod
    def unavailable(cls) -> str:
        """Return why this runtime cannot be used here, or an empty string."""
        if sys.version_info >= _FIRST_PYTHON_WITHOUT_TFLITE_RUNTIME:
            version = f"{sys.version_info.major}.{sys.version_info.minor}"
            return f"tflite-runtime has no release for Python {version}; use Python 3.11 or the backend 'litert'"
        missing = super().unavailable()
        if missing:
            return missing
        import numpy as np

        if int(np.__version__.partition(".")[0]) >= _FIRST_NUMPY_WITHOUT_TFLITE_RUNTIME:
            return f"tflite-runtime 2.14 fails with numpy {np.__version__}: {cls.install}, which brings numpy 1"
        return ""
