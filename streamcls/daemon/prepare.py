"""A configuration made ready: plugins and models loaded, everything checked, nothing opened."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamcls.bus.keys import load_server
from streamcls.config import Resolved, located, name_of, read_config, resolve
from streamcls.config.resolve import expanded
from streamcls.daemon.busside import keys_folder
from streamcls.errors import BusError, ConfigError, Problem
from streamcls.inference import bundled_model_paths, find_bundles
from streamcls.interfaces import PolicyContext
from streamcls.runtime.models import LoadedModel, load_models

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from streamcls.config import Settings
    from streamcls.plugins import Registry

__all__ = ["Prepared", "model_paths", "prepare", "prepare_file"]


@dataclass(slots=True)
class Prepared:
    """A configuration whose plugins and models are loaded, and nothing opened."""

    resolved: Resolved
    registry: Registry
    models: dict[str, LoadedModel] = field(default_factory=dict)
    where: str = ""
    """The file's name, for people."""


def model_paths(registry: Registry, extra: Iterable[str] = ()) -> list[Path]:
    """Folders of bundles in order of precedence: configured, of plugins, our own."""
    return [*(expanded(path) for path in extra), *registry.model_paths, *bundled_model_paths()]


def prepare(settings: Settings, registry: Registry, where: str = "") -> Prepared:
    """Check a configuration as far as that goes without opening a source or an endpoint.

    Raises
    ------
    ConfigError
        With every problem found, of the components, the bundles and the policies' labels.
    """
    return _prepare(settings, registry, where, [])


def prepare_file(path: Path | None, registry: Registry, known: Mapping[str, LoadedModel] | None = None) -> Prepared:
    """Read a configuration (without a path the embedded one) and prepare it.

    Parameters
    ----------
    known
        Models that are loaded already, and are not made anew where they are the same.

    Raises
    ------
    ConfigError
        With every problem found: those of the file's structure, and those of whatever can be told of the rest.
    """
    settings, problems = read_config(path)
    try:
        return _prepare(settings, registry, name_of(path), problems, known)
    except ConfigError as error:
        raise ConfigError(located(error.problems, path), error.path) from error


def _prepare(
    settings: Settings,
    registry: Registry,
    where: str,
    problems: list[Problem],
    known: Mapping[str, LoadedModel] | None = None,
) -> Prepared:
    bundles = find_bundles(model_paths(registry, settings.models.path))
    resolved = resolve(settings, components=registry.components, bundles=bundles)
    models = load_models(resolved, registry.backends, known)
    _check_policies(resolved, models)
    _check_security(resolved)
    problems = [*problems, *resolved.problems]
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)), where)
    return Prepared(resolved, registry, models, where)


def _check_security(resolved: Resolved) -> None:
    """Look for the daemon's own key where it is to have one, and for sources that count on it in vain."""
    if not resolved.settings.security.curve:
        for component in resolved.sources:
            if getattr(component.config, "curve", None):
                what = "curve = true, but the daemon has no keys"
                resolved.problems.append(Problem(f'source "{component.name}"', what, "switch on [security] curve"))
        return
    folder = keys_folder(resolved.settings, resolved.state_dir)
    try:
        load_server(folder)
    except BusError as error:
        hint = f"as the daemon's user: streamcls keys init {folder}" if _is_missing(folder) else ""
        resolved.problems.append(Problem("security.keys", str(error), hint))


def _is_missing(path: Path) -> bool:
    try:
        path.lstat()
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    return False


def _check_policies(resolved: Resolved, models: dict[str, LoadedModel]) -> None:
    """Make every policy once for each model it would listen to, so that labels that do not exist are found now."""
    for name, policy in resolved.policies.items():
        wanted: tuple[str, ...] = getattr(policy.config, "models", ())
        unknown = [model for model in wanted if model not in models and model not in resolved.models]
        if unknown:
            what = f"no stream uses a model {', '.join(map(repr, unknown))}"
            hint = "name it in models of a [[stream]] as well, or leave it out here"
            resolved.problems.append(Problem(f"policy.{name}.models", what, hint))
        for model in models.values():
            try:
                if policy.component.accepts(policy.config, model.info):
                    policy.component(policy.config, PolicyContext(name, "check", model.info))
            except ValueError as error:
                resolved.problems.append(Problem(f"policy.{name}", str(error)))
            except Exception as error:  # noqa: BLE001 - a stranger's code: the other problems are reported as well
                resolved.problems.append(Problem(f"policy.{name}", f"it raised {type(error).__name__}: {error}"))
