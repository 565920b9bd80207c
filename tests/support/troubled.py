"""Subscribers that make trouble, each in its own way, when an event says so; also loaded by processes of their own."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from streamcls import ComponentConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Troubled"]


class Troubled:
    """Writes the number of each event into a file, one a line, and then does what the event's ``do`` says.

    ``raise`` raises, ``hang`` waits for ever, ``die`` ends the process, ``leak`` takes memory until there is none; what it has leaked
    stays. ``once``: only where the file ``path`` with ``.done`` does not exist yet, which it then makes. With ``slow`` the first one is
    never ready.
    """

    name: ClassVar[str] = "troubled"

    class Config(ComponentConfig):
        path: str
        secret: str = ""
        slow: bool = False

    def __init__(self, config: Any) -> None:
        self._path = Path(config.path)
        self.waiting, self.counters = 2, {"delivered": 7}
        self._leaked: list[bytearray] = []
        first = not Path(f"{config.path}.made").exists()
        with Path(f"{config.path}.made").open("a", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
        if config.slow and first:
            threading.Event().wait()

    def handle(self, event: Mapping[str, Any]) -> None:
        data = event["data"]
        trouble = data.get("do", "")
        done = Path(f"{self._path}.done")
        if trouble and not (data.get("once") and done.exists()):
            done.touch()
            if trouble == "raise":
                raise RuntimeError("boom")
            if trouble == "hang":
                threading.Event().wait()
            if trouble == "die":
                signal.raise_signal(signal.SIGSEGV)  # in this thread, before it goes on
            while trouble == "leak":
                self._leaked.append(bytearray(8 << 20))
        if "number" in data:
            with self._path.open("a", encoding="ascii") as file:
                file.write(f"{data['number']}\n")

    def close(self) -> None:
        """Do nothing."""
