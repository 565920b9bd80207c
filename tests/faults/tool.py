"""``streamcls`` with the sample plugin beside the installed ones, whose backend answers to tones. Usage: tool.py run CONFIG, and so on."""

from __future__ import annotations

import os
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "sample_plugin"))


SLOW_S = 0.02
"""What a window costs with the backend ``slow``."""


def _slow() -> type:
    """Return a backend whose models take their time, so that few streams are a worker's full load."""
    from streamcls_sample.matrix import MatrixBackend

    class Slow(MatrixBackend):
        name = "slow"

        def load(self, bundle: Any) -> Any:
            made = super().load(bundle)
            quick = made.logits

            def logits(window: Any) -> Any:
                time.sleep(SLOW_S)
                return quick(window)

            made.logits = logits
            return made

    return Slow


def main() -> None:
    """Run the command line."""
    import streamcls_sample

    from streamcls import hookimpl, plugins

    @hookimpl
    def register_backends() -> list[type]:
        return [*backends(), _slow()]

    backends = streamcls_sample.register_backends
    streamcls_sample.register_backends = register_backends
    point = metadata.EntryPoint("sample", "streamcls_sample", "streamcls")
    installed = metadata.entry_points
    plugins.entry_points = lambda **wanted: [*installed(**wanted), point]
    from streamcls.cli import main as command

    command(sys.argv[1:])


if __name__ == "__main__":
    main()
