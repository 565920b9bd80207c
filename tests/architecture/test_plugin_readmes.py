"""Each plugin of ours has a README that documents its configuration, and holds to what strangers have to hold to."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from streamcls.plugins import discover

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = sorted(path for path in (ROOT / "plugins").iterdir() if (path / "__init__.py").is_file())
COMPONENTS = [
    pytest.param(component, id=f"{kind} {name}")
    for kind, components in discover().components.items()
    for name, component in components.items()
    if component.__module__.split(".")[0] in {path.name for path in PLUGINS}
]
IDS = [path.name for path in PLUGINS]


def _readme(package: str) -> str:
    return (ROOT / "plugins" / package / "README.md").read_text(encoding="utf-8")


def _fields(model: type[BaseModel]) -> set[str]:
    """Return the keys of a configuration, those of nested tables included."""
    names: set[str] = set()
    for name, field in model.model_fields.items():
        names.add(name)
        for part in [field.annotation, *_parts(field.annotation)]:
            if isinstance(part, type) and issubclass(part, BaseModel):
                names |= _fields(part)
    return names


def _parts(annotation: Any) -> list[Any]:
    found = []
    for part in getattr(annotation, "__args__", ()):
        found += [part, *_parts(part)]
    return found


@pytest.mark.parametrize("plugin", PLUGINS, ids=IDS)
def test_it_has_a_readme_under_its_name(plugin: Path) -> None:
    first = _readme(plugin.name).splitlines()[0]
    assert first.startswith("# ")
    assert plugin.name.removeprefix("streamcls_") in first


@pytest.mark.parametrize("plugin", PLUGINS, ids=IDS)
def test_it_is_registered_like_anybodys(plugin: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert plugin.name in project["project"]["entry-points"]["streamcls"].values()


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_key_of_its_configuration_is_in_the_readme(component: type[Any]) -> None:
    config = getattr(component, "Config", None)
    if config is None:  # a backend
        assert f"`{component.name}`" in _readme(component.__module__.split(".")[0])
        return
    text = _readme(component.__module__.split(".")[0])
    missing = sorted(name for name in _fields(config) if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text))
    assert not missing, f"its README says nothing of {', '.join(missing)}"


@pytest.mark.parametrize("plugin", PLUGINS, ids=IDS)
def test_what_the_readme_shows_is_toml(plugin: Path) -> None:
    for block in re.findall(r"^```toml\n(.*?)^```$", _readme(plugin.name), re.MULTILINE | re.DOTALL):
        tomllib.loads(block)


@pytest.mark.parametrize("plugin", PLUGINS, ids=IDS)
def test_its_module_holds_hooks_and_nothing_else(plugin: Path) -> None:
    """What a component does stands beside it."""
    tree = ast.parse((plugin / "__init__.py").read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert functions
    assert [node.name for node in functions if not node.name.startswith("register_")] == []
    assert not [node for node in tree.body if isinstance(node, ast.ClassDef)]
