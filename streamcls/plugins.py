"""Discovery of plugins, one by one and guarded, into records with a status."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import pluggy
from pydantic import BaseModel

from streamcls import hookspecs
from streamcls.interfaces import Backend, ComponentConfig, Policy, Source, Subscriber

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from importlib.metadata import EntryPoint

    import click

__all__ = ["PluginRecord", "Provided", "Registry", "discover"]

_log = logging.getLogger("streamcls.plugins")

Status = Literal["ok", "broken"]

_PROTOCOLS: Final[dict[str, type]] = {"source": Source, "backend": Backend, "policy": Policy, "subscriber": Subscriber}
_HOOKS: Final = {
    "source": "register_sources",
    "backend": "register_backends",
    "policy": "register_policies",
    "subscriber": "register_subscribers",
}
_ALL_HOOKS: Final = (*_HOOKS.values(), "register_model_paths", "register_commands")
_MEMBERS: Final = {
    "source": ("name", "Config", "items"),
    "backend": ("name", "load", "unavailable"),
    "policy": ("name", "Config", "accepts", "update", "gap", "close"),
    "subscriber": ("name", "Config", "handle", "close"),
}


@dataclass(frozen=True, slots=True)
class Provided:
    """One component, folder of models or command of a plugin. ``reason`` says why it is not usable; empty where it is."""

    kind: str
    name: str
    reason: str = ""


@dataclass(slots=True)
class PluginRecord:
    """What became of one entry point."""

    name: str
    module: str
    distribution: str
    version: str
    status: Status = "ok"
    reason: str = ""
    provides: list[Provided] = field(default_factory=list)

    def fail(self, reason: str) -> None:
        """Mark the plugin as broken; the first reason stays in front."""
        self.status = "broken"
        self.reason = f"{self.reason}; {reason}" if self.reason else reason
        _log.error("plugin %s (%s): %s", self.name, self.module, reason)


@dataclass(slots=True)
class Registry:
    """Every component that plugins offer, by kind and name, and the record of each plugin."""

    records: list[PluginRecord] = field(default_factory=list)
    components: dict[str, dict[str, Any]] = field(default_factory=lambda: {kind: {} for kind in _HOOKS})
    model_paths: list[Path] = field(default_factory=list)
    _extenders: list[tuple[PluginRecord, Callable[..., Any]]] = field(default_factory=list)

    @property
    def sources(self) -> dict[str, type[Source]]:
        """Source classes by name."""
        return self.components["source"]

    @property
    def backends(self) -> dict[str, type[Backend]]:
        """Backend classes by name."""
        return self.components["backend"]

    @property
    def policies(self) -> dict[str, type[Policy]]:
        """Policy classes by name."""
        return self.components["policy"]

    @property
    def subscribers(self) -> dict[str, type[Subscriber]]:
        """Subscriber classes by name."""
        return self.components["subscriber"]

    def add_commands(self, cli: click.Group) -> None:
        """Let every plugin extend the command line. A command whose name is taken is left out; so are all of a plugin that raises."""
        import click

        for record, extend in self._extenders:
            offered = click.Group()
            try:
                extend(offered)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - a stranger's code: it is recorded, the others go on
                record.fail(f"register_commands raised {_describe(error)}")
                continue
            for name, command in offered.commands.items():
                if name in cli.commands:
                    record.fail(f"command {name!r} exists already")
                    record.provides.append(Provided("command", name, "the name is taken"))
                else:
                    cli.add_command(command, name)
                    record.provides.append(Provided("command", name))


def discover(points: Iterable[EntryPoint] | None = None) -> Registry:
    """Load every plugin of the entry-point group, in order of their names but our own distribution's first.

    Nothing that a plugin does (an import error, a wrong type, a raising hook, a name that is taken) reaches the caller; it is in the
    plugin's record and in the log.
    """
    found = entry_points(group=hookspecs.ENTRY_POINT_GROUP) if points is None else points
    registry = Registry()
    manager = pluggy.PluginManager("streamcls")
    manager.add_hookspecs(hookspecs)
    unique = {(point.name, point.value): point for point in found}
    for point in sorted(unique.values(), key=lambda p: (_distribution(p)[0] != "streamcls", p.name)):
        _load(point, manager, registry)
    return registry


def _load(point: EntryPoint, manager: pluggy.PluginManager, registry: Registry) -> None:
    record = PluginRecord(point.name, point.value, *_distribution(point))
    registry.records.append(record)
    try:
        plugin = point.load()
        manager.register(plugin, name=f"{point.name}:{point.value}")
    except (Exception, SystemExit) as error:  # noqa: BLE001 - as above
        record.fail(_describe(error))
        return
    hooks = _implementations(record, plugin, manager)
    for kind, hook in _HOOKS.items():
        for component in _call(record, hooks, hook):
            try:
                _accept(record, kind, component, registry)
            except Exception as error:  # noqa: BLE001 - as above: a property of a class can do anything
                record.fail(f"{hook}: looking at what it returned raised {_describe(error)}")
    for folder in _call(record, hooks, "register_model_paths"):
        try:
            path = Path(folder)
        except TypeError:
            record.fail(f"register_model_paths returned {folder!r}, expected folders")
            continue
        registry.model_paths.append(path)
        record.provides.append(Provided("models", str(path)))
    if "register_commands" in hooks:
        registry._extenders.append((record, hooks["register_commands"]))  # noqa: SLF001 - the registry's own builder


def _implementations(record: PluginRecord, plugin: Any, manager: pluggy.PluginManager) -> dict[str, Callable[..., Any]]:
    """Return what a plugin implements, by hook; what looks like a hook and is none is a mistake of its author."""
    hooks: dict[str, Callable[..., Any]] = {}
    for caller in manager.get_hookcallers(plugin) or []:
        if caller.has_spec():
            hooks[caller.name] = next(one.function for one in caller.get_hookimpls() if one.plugin is plugin)
        else:
            record.fail(f"{caller.name} is no hook; the hooks are {', '.join(_ALL_HOOKS)}")
    for name in _ALL_HOOKS:
        if name not in hooks and callable(getattr(plugin, name, None)):
            record.fail(f"{name} is not marked with @streamcls.hookimpl, so it is not called")
    return hooks


def _call(record: PluginRecord, hooks: dict[str, Callable[..., Any]], hook: str) -> list[Any]:
    if hook not in hooks:
        return []
    try:
        returned = hooks[hook]()
        if isinstance(returned, (list, tuple, set, frozenset)):
            return list(returned)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - as above
        record.fail(f"{hook} raised {_describe(error)}")
    else:
        record.fail(f"{hook} returned {returned!r}, expected a list")
    return []


def _accept(record: PluginRecord, kind: str, component: Any, registry: Registry) -> None:
    hook, protocol = _HOOKS[kind], _PROTOCOLS[kind].__name__
    if not isinstance(component, type):
        record.fail(f"{hook} returned {component!r}, expected classes")
        return
    missing = [member for member in _MEMBERS[kind] if not hasattr(component, member)]
    if missing:
        record.fail(f"{component.__qualname__} is no {protocol}: it lacks {', '.join(missing)}")
        return
    name, config = getattr(component, "name", None), getattr(component, "Config", ComponentConfig)
    if not isinstance(name, str) or not name:
        record.fail(f"{component.__qualname__} is no {protocol}: its name is {name!r}, expected a string")
        return
    if not isinstance(config, type) or not issubclass(config, BaseModel):
        record.fail(
            f"{kind} {name!r}: its Config is {config!r}, expected a class that inherits streamcls.ComponentConfig"
        )
        return
    config.model_rebuild()  # raises where an annotation names what is imported for type checkers only
    taken = registry.components[kind].get(name)
    if taken is not None:
        record.fail(f"{kind} {name!r} is already provided by {taken.__module__}")
        record.provides.append(Provided(kind, name, f"the name is taken by {taken.__module__}"))
        return
    reason = _unavailable(record, name, component) if kind == "backend" else ""
    if reason is not None:
        registry.components[kind][name] = component
        record.provides.append(Provided(kind, name, reason))


def _unavailable(record: PluginRecord, name: str, backend: Any) -> str | None:
    """Return why a backend cannot work here, or None where it does not even know that."""
    try:
        reason = backend.unavailable()
    except Exception as error:  # noqa: BLE001 - as above
        fault = f"unavailable() raised {_describe(error)}"
    else:
        if isinstance(reason, str):
            return reason
        fault = f"unavailable() returned {reason!r}, expected a string"
    record.fail(f"backend {name!r}: {fault}")
    record.provides.append(Provided("backend", name, fault))
    return None


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _distribution(point: EntryPoint) -> tuple[str, str]:
    """Return name and version; empty where the distribution's own record is damaged, which must not stop the others."""
    try:
        return (point.dist.name or "", point.dist.version or "") if point.dist is not None else ("", "")
    except Exception:  # noqa: BLE001 - what is raised differs from one Python to the next
        return ("", "")
