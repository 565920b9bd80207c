"""A stranger's plugin, registered in a child process: while a file is there, its source ignores ``stop``, or hangs or fails when made."""

from __future__ import annotations

import sys
import threading  # noqa: TC003 - one import for who reads this as an example
import time
from pathlib import Path  # noqa: TC003 - of a field of a pydantic model
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from streamcls import Chunk, ComponentConfig, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterator

RATE = 22_050
CHUNK = RATE // 10


class Config(ComponentConfig):
    seed: int = 0
    deaf: Path
    unmade: Path
    broken: Path


class StubbornSource:
    """Ten chunks a second, live."""

    name: ClassVar[str] = "stubborn"
    Config = Config
    live = True

    def __init__(self, config: Any, context: Any) -> None:
        self._config = config
        self._stream = context.name
        if config.broken.exists():
            raise OSError("no such device")
        if config.unmade.exists():
            print("the source is not made now", file=sys.stderr, flush=True)
        while config.unmade.exists():
            time.sleep(0.02)

    def items(self, stop: threading.Event) -> Iterator[Any]:
        index = 0
        while not stop.is_set():
            rng = np.random.default_rng([self._config.seed, index])
            yield Chunk(
                self._stream, rng.standard_normal((CHUNK, 1)).astype(np.float32) * 0.1, RATE, index, time.time()
            )
            index += CHUNK
            stop.wait(0.1)
            while stop.is_set() and self._config.deaf.exists():
                time.sleep(0.02)


@hookimpl
def register_sources() -> list[type]:
    return [StubbornSource]


def main() -> None:
    """Run the command line with this plugin beside the installed ones."""
    from importlib import metadata

    from streamcls import plugins

    point = metadata.EntryPoint("stubborn", "stubborn_plugin", "streamcls")
    installed = metadata.entry_points
    plugins.entry_points = lambda **wanted: [*installed(**wanted), point]
    from streamcls.cli import main as command

    command(sys.argv[1:])


if __name__ == "__main__":
    sys.modules["stubborn_plugin"] = sys.modules["__main__"]
    main()
