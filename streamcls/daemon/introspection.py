"""What the daemon tells over its control socket."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING, Any

from streamcls import __version__
from streamcls.bus.wire import rfc3339
from streamcls.runtime.stacks import all_stacks
from streamcls.service.ailments import ailments
from streamcls.service.control import ControlBusyError, ControlError, ControlServer
from streamcls.service.control_path import control_path, tidy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streamcls.daemon.busside import BusSide
    from streamcls.daemon.prepare import Prepared
    from streamcls.service.control import Operation

__all__ = ["Introspection"]

_log = logging.getLogger("streamcls.control")

_NOT_TOLD = frozenset({"positions"})
"""What only subscribers of the bus need of a heartbeat."""


class Introspection:
    """The control socket with its operations: ``ping``, ``status``, ``stacks``, and those that are added.

    Parameters
    ----------
    facts
        Gathers what a heartbeat says.
    more
        Further operations by name.
    clock
        Unix time in seconds.
    """

    def __init__(
        self,
        prepared: Prepared,
        side: BusSide,
        facts: Callable[[], dict[str, Any]],
        clock: Callable[[], float],
        more: Mapping[str, Operation] | None = None,
    ) -> None:
        self._prepared = prepared
        self._side = side
        self._facts = facts
        self._clock = clock
        self._operations = {"ping": self._ping, "status": self._status, "stacks": self._stacks, **(more or {})}
        self._server: ControlServer | None = None

    def start(self) -> None:
        """Make the socket. Where that cannot be, for a disk that is full or read-only, the daemon goes on without.

        Raises
        ------
        ControlBusyError
            Another daemon runs on the same state folder.
        """
        try:
            server = ControlServer(control_path(self._prepared.resolved.state_dir), self._operations)
            server.start()
        except ControlBusyError:
            raise
        except (ControlError, OSError) as error:
            _log.error("streamcls status and the like cannot ask this daemon: %s", error)
            return
        self._server = server
        _log.info("and answers commands at %s", server.path)

    def stop(self) -> bool:
        """Remove the socket; return False where its thread did not end in time."""
        if self._server is None:
            return True
        ended = self._server.close()
        tidy(self._prepared.resolved.state_dir, self._server.path)
        return ended

    def _ping(self, _: Mapping[str, Any]) -> dict[str, Any]:
        return {"name": self._prepared.resolved.settings.daemon.name, "pid": os.getpid(), "version": __version__}

    def _status(self, _: Mapping[str, Any]) -> dict[str, Any]:
        settings = self._prepared.resolved.settings
        told = {key: value for key, value in self._facts().items() if key not in _NOT_TOLD}
        status = {
            **self._ping({}),
            "time": rfc3339(self._clock()),
            "config": self._prepared.where,
            "state_dir": str(self._prepared.resolved.state_dir),
            "endpoints": list(self._side.publisher.endpoints),
            "replay_endpoints": list(self._side.replay.endpoints),
            "buffer_s": settings.daemon.buffer_s,
            **told,
            "last_event": self._side.board.last_event(),
            "threads": sorted(thread.name for thread in threading.enumerate()),
        }
        for name, entry in self._side.board.facts().items():
            if name in status["streams"]:
                status["streams"][name] |= entry
        return {"wrong": ailments(status), **status}

    @staticmethod
    def _stacks(_: Mapping[str, Any]) -> dict[str, Any]:
        return {"stacks": all_stacks()}
