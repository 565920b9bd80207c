"""A stranger's plugin, registered in a child process: a source and a policy that stand still for as long as a file is there."""

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

    from streamcls import Event

RATE = 22_050
CHUNK = RATE // 10


class Trigger(ComponentConfig):
    wedged: Path


class NoiseSource:
    """Ten chunks a second, live; while the file is there it delivers nothing and does not heed ``stop``."""

    name: ClassVar[str] = "noise"
    Config = Trigger
    live = True

    def __init__(self, config: Any, context: Any) -> None:
        self._wedged = config.wedged
        self._stream = context.name

    def items(self, stop: threading.Event) -> Iterator[Any]:
        index = 0
        while not stop.is_set():
            if self._wedged.exists():
                print("the source hangs now", file=sys.stderr, flush=True)
            while self._wedged.exists():
                time.sleep(0.02)
            samples = np.random.default_rng(index).standard_normal((CHUNK, 1)).astype(np.float32) * 0.1
            yield Chunk(self._stream, samples, RATE, index, time.time())
            index += CHUNK
            stop.wait(0.1)


class WedgingPolicy:
    """Says nothing, and while the file is there does not return."""

    name: ClassVar[str] = "wedging"
    Config = Trigger

    def __init__(self, config: Any, context: Any) -> None:
        self._wedged = config.wedged

    @classmethod
    def accepts(cls, config: Any, model: Any) -> bool:
        return True

    def update(self, item: Any) -> list[Event]:
        while self._wedged.exists():
            time.sleep(0.02)
        return []

    def gap(self, first_sample: int, end_sample: int) -> list[Event]:
        return []

    def close(self, at_sample: int, reason: str) -> list[Event]:
        return []


@hookimpl
def register_sources() -> list[type]:
    return [NoiseSource]


@hookimpl
def register_policies() -> list[type]:
    return [WedgingPolicy]


def main() -> None:
    """Run the command line with this plugin beside the installed ones."""
    from importlib import metadata

    from streamcls import plugins

    point = metadata.EntryPoint("wedging", "wedging_plugin", "streamcls")
    installed = metadata.entry_points
    plugins.entry_points = lambda **wanted: [*installed(**wanted), point]
    from streamcls.cli import main as command

    command(sys.argv[1:])


if __name__ == "__main__":
    sys.modules["wedging_plugin"] = sys.modules["__main__"]
    main()
