"""Checking a configuration against the plugins and bundles that there are, all problems at once."""

from __future__ import annotations

import fnmatch
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from streamcls.config.conflicts import conflicts
from streamcls.config.problems import did_you_mean, problems_of
from streamcls.config.schema import ModelSettings, PolicyEntry, StreamSettings
from streamcls.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamcls.config.schema import ComponentEntry, Settings, SubscriberEntry

__all__ = ["Resolved", "ResolvedComponent", "expanded", "resolve"]


@dataclass(frozen=True, slots=True)
class ResolvedComponent:
    """A component: its name, its type in the configuration (``kind``), its class, and its checked configuration."""

    name: str
    kind: str
    component: Any
    config: BaseModel


@dataclass(slots=True)
class Resolved:
    """A configuration in which every name stands for something that exists."""

    settings: Settings
    sources: list[ResolvedComponent] = field(default_factory=list)
    subscribers: list[tuple[SubscriberEntry, ResolvedComponent]] = field(default_factory=list)
    policies: dict[str, ResolvedComponent] = field(default_factory=dict)
    models: dict[str, ModelSettings] = field(default_factory=dict)
    bundle_paths: dict[str, Path] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def settings_of(self, stream: str) -> StreamSettings | None:
        """Return the settings of a stream, or None where no pattern matches it."""
        return next((entry for entry in self.settings.stream if fnmatch.fnmatchcase(stream, entry.match)), None)

    @property
    def state_dir(self) -> Path:
        """Folder for checkpoints: as configured, as systemd says, or the user's own."""
        return state_folder(self.settings.daemon.state_dir)

    @property
    def folders(self) -> dict[str, Path]:
        """Folders that the daemon writes to, by the key that names them; it makes those that are missing."""
        settings = self.settings
        found = {"daemon.state_dir": self.state_dir}
        if settings.evidence.path and any(entry.evidence for entry in settings.stream):
            found["evidence.path"] = expanded(settings.evidence.path)
        if settings.audit.enabled and settings.audit.path:
            found["audit.path"] = expanded(settings.audit.path).parent
        return found


def state_folder(configured: str = "") -> Path:
    """Return the folder for checkpoints, journal and keys: as configured, as systemd says, or the user's own."""
    if configured:
        return expanded(configured)
    given = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if given:
        return Path(given)
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if base else Path.home() / ".local" / "state") / "streamcls"


def expanded(path: str) -> Path:
    """Replace a leading ``~`` by a home folder; of a user that nobody knows the path stays as it is, and will be called missing."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser raises there


def resolve(
    settings: Settings,
    *,
    components: Mapping[str, Mapping[str, type[Any]]],
    bundles: Mapping[str, Path],
) -> Resolved:
    """Look up every component and bundle that a configuration names.

    Parameters
    ----------
    components
        Classes by kind (``source``, ``backend``, ``policy``, ``subscriber``) and name.
    bundles
        Folders by bundle name.

    Returns
    -------
    What was found, with ``problems`` listing all that is wrong; nothing is opened.
    """
    resolved = Resolved(settings)
    _check_exposure(resolved)
    _resolve_sources(resolved, components["source"])
    _resolve_subscribers(resolved, components["subscriber"])
    _resolve_policies(resolved, components["policy"])
    _resolve_models(resolved, components["backend"], bundles)
    resolved.problems += conflicts(resolved, resolved.folders)
    return resolved


def _check_exposure(resolved: Resolved) -> None:
    """Refuse endpoints that other machines reach, where nothing is encrypted and nobody said that this is meant."""
    settings = resolved.settings
    exposed = settings.bus.exposed
    if exposed and not (settings.security.curve or settings.bus.insecure):
        what = f"{', '.join(exposed)} can be reached from other machines, and nothing is encrypted"
        hint = "use 127.0.0.1 or ipc, or switch on [security] curve, or set insecure = true"
        resolved.problems.append(Problem("bus", what, hint))


def _resolve_sources(resolved: Resolved, known: Mapping[str, type[Any]]) -> None:
    seen: set[str] = set()
    for index, entry in enumerate(resolved.settings.source):
        where = f'source[{index}] "{entry.name}"' if entry.name else f"source[{index}]"
        if entry.name and entry.name in seen:
            resolved.problems.append(
                Problem(f"{where}.name", f"{entry.name!r} is used twice", "names of sources must differ")
            )
        seen.add(entry.name)
        component = _component(resolved, where, entry.name, entry.type, entry, known)
        if component is not None:
            resolved.sources.append(component)


def _resolve_subscribers(resolved: Resolved, known: Mapping[str, type[Any]]) -> None:
    """Give each its name: as configured, else its type, with a number where that is taken."""
    taken = [entry.name for entry in resolved.settings.subscriber if entry.name]
    used: set[str] = set()
    for index, entry in enumerate(resolved.settings.subscriber):
        name = entry.name or entry.type
        where = f'subscriber[{index}] "{name}"' if name else f"subscriber[{index}]"
        if entry.name and entry.name in used:
            resolved.problems.append(
                Problem(f"{where}.name", f"{name!r} is used twice", "names of subscribers must differ")
            )
        number = 2
        while not entry.name and (name in used or name in taken):
            name, number = f"{entry.type}-{number}", number + 1
        used.add(name)
        component = _component(resolved, where, name, entry.type, entry, known)
        if component is not None:
            resolved.subscribers.append((entry, component))


def _resolve_policies(resolved: Resolved, known: Mapping[str, type[Any]]) -> None:
    settings = resolved.settings
    entries = dict(settings.policy)
    for index, stream in enumerate(settings.stream):
        for name in stream.policies:
            if name not in entries and name in known:
                entries[name] = PolicyEntry()
            elif name not in entries:
                hint = did_you_mean(name, [*known, *settings.policy])
                resolved.problems.append(Problem(f"stream[{index}].policies", f"unknown policy {name!r}", hint))
    for name, entry in entries.items():
        component = _component(resolved, f"policy.{name}", name, entry.type or name, entry, known)
        if component is not None:
            resolved.policies[name] = component


def _resolve_models(resolved: Resolved, backends: Mapping[str, type[Any]], bundles: Mapping[str, Path]) -> None:
    settings = resolved.settings
    entries = dict(settings.model)
    for index, stream in enumerate(settings.stream):
        for name in stream.models:
            if name not in entries and name in bundles:
                entries[name] = ModelSettings()
            elif name not in entries:
                hint = did_you_mean(name, [*bundles, *settings.model])
                resolved.problems.append(Problem(f"stream[{index}].models", f"unknown model {name!r}", hint))
    for name, entry in entries.items():
        wanted = entry.bundle or name
        if entry.backend not in backends:
            hint = did_you_mean(entry.backend, backends)
            resolved.problems.append(Problem(f"model.{name}.backend", f"unknown backend {entry.backend!r}", hint))
        else:
            reason = backends[entry.backend].unavailable()
            if reason:
                resolved.problems.append(
                    Problem(f"model.{name}.backend", f"{entry.backend!r} is not available: {reason}")
                )
        if "/" in wanted:
            resolved.bundle_paths[name] = expanded(wanted)
        elif wanted in bundles:
            resolved.bundle_paths[name] = bundles[wanted]
        else:
            hint = did_you_mean(wanted, bundles) + "; a path needs a slash"
            resolved.problems.append(Problem(f"model.{name}.bundle", f"no bundle {wanted!r}", hint))
            continue
        resolved.models[name] = entry


def _component(  # noqa: PLR0917 - called from here only
    resolved: Resolved, where: str, name: str, type_name: str, entry: ComponentEntry, known: Mapping[str, type[Any]]
) -> ResolvedComponent | None:
    if not type_name:  # a configuration with mistakes, which are reported already
        return None
    component = known.get(type_name)
    if component is None:
        near = did_you_mean(type_name, known)
        hint = near if near.endswith("?") else f"{near}; a plugin's is there once it is installed: streamcls plugins"
        resolved.problems.append(Problem(f"{where}.type", f"unknown type {type_name!r}", hint))
        return None
    try:
        config = component.Config.model_validate(entry.options)
    except ValidationError as error:
        resolved.problems.extend(
            problems_of(error, component.Config, entry.options, where, also=list(type(entry).model_fields))
        )
        return None
    preflight = getattr(component, "preflight", None)
    if preflight is not None:
        try:
            resolved.problems.extend(Problem(where, sentence) for sentence in preflight(config))
        except PermissionError as error:
            hint = "let the daemon's user enter the folders above it; streamcls doctor, run as that user, says more"
            what = f"no permission to look at {error.filename or 'what it needs'}"
            resolved.problems.append(Problem(where, what, hint))
        except Exception as error:  # noqa: BLE001 - a stranger's code: the other problems are reported as well
            resolved.problems.append(Problem(where, f"its preflight raised {type(error).__name__}: {error}"))
    return ResolvedComponent(name, type_name, component, config)
