"""A stranger's plugin, registered in a child process: a backend whose models take a fifth of a second for each window."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from streamcls import hookimpl

if TYPE_CHECKING:
    from streamcls import FeatureWindow
    from streamcls.types import FloatArray

__all__ = ["WINDOW_S", "SlowBackend"]

WINDOW_S = 0.2


class SlowBackend:
    """Knows nothing, and takes its time."""

    name: ClassVar[str] = "slow"

    def load(self, bundle: Any) -> SlowClassifier:
        return SlowClassifier(bundle.n_labels)

    @classmethod
    def unavailable(cls) -> str:
        return ""


class SlowClassifier:
    def __init__(self, n_labels: int) -> None:
        self._n_labels = n_labels

    def logits(self, window: FeatureWindow) -> FloatArray:
        time.sleep(WINDOW_S)
        return np.zeros(self._n_labels, np.float32)

    def close(self) -> None:
        """Do nothing."""


@hookimpl
def register_backends() -> list[type]:
    return [SlowBackend]


def main() -> None:
    """Run the command line with this plugin beside the installed ones."""
    from importlib import metadata

    from streamcls import plugins

    point = metadata.EntryPoint("slow", "slow_plugin", "streamcls")
    installed = metadata.entry_points
    plugins.entry_points = lambda **wanted: [*installed(**wanted), point]
    from streamcls.cli import main as command

    command(sys.argv[1:])


if __name__ == "__main__":
    sys.modules["slow_plugin"] = sys.modules["__main__"]
    main()
