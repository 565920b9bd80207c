"""A stranger's plugin, registered in a child process by ``run_with``: sources that end, fail or hang."""

from __future__ import annotations

import sys
import threading  # noqa: TC003 - one import for who reads this as an example
import time
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from streamcls import Chunk, ComponentConfig, RetryableSourceError, SourceError, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterator

RATE = 22_050


class Strange:
    name: ClassVar[str] = "strange"
    live = False

    class Config(ComponentConfig):
        does: Literal["end", "fail", "retry", "hang", "play", "refuse"] = "end"

    def __init__(self, config: Any, context: Any) -> None:
        if config.does == "refuse":
            raise OSError("no such device")
        self._does = config.does
        self._stream = context.name

    def items(self, stop: threading.Event) -> Iterator[Any]:
        if self._does == "fail":
            raise SourceError("the tape is torn")
        if self._does == "retry":
            raise RetryableSourceError("unplugged")
        second = 0
        while not stop.is_set():
            rng = np.random.default_rng(second)
            yield Chunk(self._stream, rng.standard_normal((RATE, 1)).astype(np.float32) * 0.1, RATE, second * RATE)
            second += 1
            if self._does == "end" and second == 20:
                return
            if self._does == "hang" and second == 8:
                print("it hangs now", file=sys.stderr, flush=True)
                while True:
                    time.sleep(60)
            stop.wait(0.01 if self._does == "end" else 0.2)


@hookimpl
def register_sources() -> list[type]:
    return [Strange]


def main() -> None:
    """Run the command line with this plugin beside the installed ones."""
    from importlib import metadata

    from streamcls import plugins

    point = metadata.EntryPoint("strange", "strange_plugin", "streamcls")
    installed = metadata.entry_points
    plugins.entry_points = lambda **wanted: [*installed(**wanted), point]
    from streamcls.cli import main as command

    command(sys.argv[1:])


if __name__ == "__main__":
    sys.modules["strange_plugin"] = sys.modules["__main__"]
    main()
