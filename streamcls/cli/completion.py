"""What the shell is offered at Tab beyond the commands' own names: quickly, and never with a word of trouble.

Each function is click's ``shell_complete``: it gets the command line so far and the word under the cursor, and returns words. None of
them loads a plugin that has nothing to do with the question; what asks the daemon waits a fraction of a second.
"""

from __future__ import annotations

import logging
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import click

    from streamcls.plugins import Registry

__all__ = ["alerts", "backends", "clients", "kinds", "labels", "plugins_with", "streams", "subscribers"]

_ASK_S: Final = 0.3


def plugins_with(hook: str) -> Registry:
    """Load the plugins that implement a hook, and no others.

    Which these are is read from their source: loading all of them takes longer than anybody waits for a completion. A plugin that
    hides its hook behind an import costs its users the completion of a name, and nothing else.
    """
    from streamcls.hookspecs import ENTRY_POINT_GROUP
    from streamcls.plugins import discover

    logging.disable(logging.CRITICAL)  # a broken plugin has nothing to say in the middle of a line
    return discover(point for point in entry_points(group=ENTRY_POINT_GROUP) if hook in _source_of(point.module, hook))


def _source_of(module: str, otherwise: str) -> str:
    """Return a module's text, without importing it; ``otherwise`` where there is none to read."""
    try:
        spec = find_spec(module)
        return otherwise if spec is None or not spec.origin else Path(spec.origin).read_text(encoding="utf-8")
    except (ImportError, OSError, ValueError):
        return otherwise


def subscribers(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Offer the types of subscribers."""
    return _fitting(plugins_with("register_subscribers").subscribers, incomplete)


def backends(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Offer what can run a model."""
    return _fitting(plugins_with("register_backends").backends, incomplete)


def kinds(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Offer the kinds of events."""
    from streamcls.config.conflicts import KINDS

    return _fitting(KINDS, incomplete)


def streams(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Offer the streams of the running daemon."""
    return _fitting(_running(), incomplete)


def alerts(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Offer the ids of the alerts that are open at the running daemon."""
    return _fitting(_of_alerts("id"), incomplete)


def labels(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Offer the labels of the alerts that are open at the running daemon."""
    return _fitting(_of_alerts("label"), incomplete)


def clients(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Offer the names of the clients that are admitted."""
    from streamcls.bus.authorised import AUTHORISED
    from streamcls.config.resolve import state_folder

    folder: Path = context.params.get("folder") or state_folder() / "keys"
    try:
        return _fitting((path.stem for path in (folder / AUTHORISED).glob("*.toml")), incomplete)
    except OSError:
        return []


def _fitting(words: Iterable[str], incomplete: str) -> list[str]:
    return sorted({word for word in words if word.startswith(incomplete)})


def _running() -> dict[str, Any]:
    """Return what the usual daemon says of its streams; nothing where none answers at once."""
    from streamcls.config.resolve import state_folder
    from streamcls.errors import StreamclsError
    from streamcls.service.asking import ask_any
    from streamcls.service.control_path import places

    try:
        found: dict[str, Any] = ask_any(places(state_folder()), "status", timeout_s=_ASK_S)["streams"]
    except (StreamclsError, KeyError, OSError):
        return {}
    return found


def _of_alerts(member: str) -> Iterator[str]:
    for stream in _running().values():
        for alert in stream.get("alerts", ()):
            if alert.get(member):
                yield str(alert[member])
