"""The option ``--backend`` of several commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamcls.errors import ConfigError, Problem

if TYPE_CHECKING:
    from streamcls.interfaces import Backend

__all__ = ["backend_named"]


def backend_named(name: str) -> Backend:
    """Make the backend of a name.

    Raises
    ------
    ConfigError
        No plugin has one of that name.
    """
    from streamcls.plugins import discover

    backends = discover().backends
    if name not in backends:
        known = f"there is {', '.join(sorted(backends)) or 'none'}"
        raise ConfigError([Problem("--backend", f"{name!r} is no backend", known)])
    return backends[name]()
