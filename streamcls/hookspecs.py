"""Every hook a plugin can implement: the whole plugin contract on one page.

A plugin is a module (or object) named by an entry point of the group ``streamcls``. Hooks are called once, at start-up, and hand over
**classes**, never instances; nothing on the audio path goes through them. A plugin that raises is recorded with its reason, named
in the log and in ``streamcls plugins``, and the others go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import click

    from streamcls.interfaces import Backend, Policy, Source, Subscriber

__all__ = ["ENTRY_POINT_GROUP", "hookimpl", "hookspec"]

ENTRY_POINT_GROUP = "streamcls"
hookspec = pluggy.HookspecMarker("streamcls")
hookimpl = pluggy.HookimplMarker("streamcls")


@hookspec
def register_sources() -> Sequence[type[Source]]:  # type: ignore[empty-body]
    """Offer sources of audio. See :class:`streamcls.interfaces.Source`."""


@hookspec
def register_backends() -> Sequence[type[Backend]]:  # type: ignore[empty-body]
    """Offer inference backends. See :class:`streamcls.interfaces.Backend`."""


@hookspec
def register_policies() -> Sequence[type[Policy]]:  # type: ignore[empty-body]
    """Offer policies, which turn posteriors into events. See :class:`streamcls.interfaces.Policy`."""


@hookspec
def register_subscribers() -> Sequence[type[Subscriber]]:  # type: ignore[empty-body]
    """Offer subscribers, which consume events. See :class:`streamcls.interfaces.Subscriber`."""


@hookspec
def register_model_paths() -> Sequence[Path]:  # type: ignore[empty-body]
    """Offer folders in which each sub-folder is a model bundle."""


@hookspec
def register_commands(cli: click.Group) -> None:
    """Add commands to the ``streamcls`` command line. Heavy imports belong inside the command's function."""
