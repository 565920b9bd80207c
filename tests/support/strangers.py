"""Distributions of other people: one that is built and installed, and ones that are made up on the spot."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

__all__ = ["SAMPLE", "fabricate", "install", "streamcls"]

SAMPLE = Path(__file__).resolve().parent.parent / "sample_plugin"


def install(folder: Path) -> Path:
    """Build the sample distribution from a copy and install it into ``folder``; return that."""
    copy = folder.parent / f"{folder.name}-source"
    shutil.copytree(SAMPLE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    result = subprocess.run(
        [*command, "--target", folder, copy], check=False, capture_output=True, text=True, env=environment
    )
    assert result.returncode == 0, result.stderr
    return folder


def fabricate(folder: Path, name: str, code: str, *, entry_points: str | None = None, metadata: bool = True) -> Path:
    """Write what an installed distribution leaves: a module called ``name`` and its ``.dist-info``; return the folder."""
    information = folder / f"{name}-0.1.dist-info"
    information.mkdir(parents=True)
    (folder / f"{name}.py").write_text("from __future__ import annotations\n" + textwrap.dedent(code), encoding="utf-8")
    if metadata:
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n", encoding="utf-8")
    points = f"{name} = {name}" if entry_points is None else entry_points
    (information / "entry_points.txt").write_text(f"[streamcls]\n{points}\n", encoding="utf-8")
    return folder


def streamcls(*arguments: object, path: list[Path], timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run the command in a child process that finds further distributions in the folders of ``path``."""
    python_path = os.pathsep.join([*(str(folder) for folder in path), os.environ.get("PYTHONPATH", "")]).strip(
        os.pathsep
    )
    return subprocess.run(
        [sys.executable, "-m", "streamcls", *(str(argument) for argument in arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env={**os.environ, "PYTHONPATH": python_path},
    )
