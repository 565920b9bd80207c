"""Modules stay small, and say what they export."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LARGEST = 400
USUAL = 150
MODULES = sorted(
    [*(ROOT / "streamcls").rglob("*.py"), *(ROOT / "plugins").rglob("*.py"), *(ROOT / "scripts").rglob("*.py")]
)


def _lines(module: Path) -> int:
    return len(module.read_text(encoding="utf-8").splitlines())


def test_there_are_modules() -> None:
    assert len(MODULES) > 50


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(ROOT)))
def test_no_module_has_more_than_400_lines(module: Path) -> None:
    assert _lines(module) <= LARGEST, "split it by what its parts are about"


def test_most_modules_are_much_smaller() -> None:
    assert statistics.median(_lines(module) for module in MODULES) <= USUAL


@pytest.mark.parametrize(
    "module",
    [module for module in MODULES if "scripts" not in module.parts],
    ids=lambda module: str(module.relative_to(ROOT)),
)
def test_a_module_with_public_names_lists_them(module: Path) -> None:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    public = [
        node.name
        for node in tree.body
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith("_")
    ]
    listed = any(
        isinstance(node, ast.Assign) and any(getattr(t, "id", "") == "__all__" for t in node.targets)
        for node in tree.body
    )
    assert listed or not public, f"it defines {', '.join(public)} and has no __all__"


def test_no_module_is_a_drawer_for_everything() -> None:
    assert not [module for module in MODULES if module.stem in {"utils", "util", "helpers", "common", "misc"}]
