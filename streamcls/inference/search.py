"""Where bundles are found."""

from __future__ import annotations

import site
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["BUNDLE_FILE", "bundled_model_paths", "find_bundles"]

BUNDLE_FILE = "bundle.toml"


def bundled_model_paths() -> list[Path]:
    """Folders that may hold the bundles which came with streamcls: a checkout's ``models``, or the installed data."""
    package = Path(__file__).resolve().parent.parent.parent
    shared = Path("share", "streamcls", "models")
    candidates = [package / "models", Path(sysconfig.get_path("data")) / shared, package / shared]
    if site.USER_BASE:
        candidates.append(Path(site.USER_BASE) / shared)
    return [path for path in candidates if path.is_dir()]


def find_bundles(paths: Iterable[Path]) -> dict[str, Path]:
    """Map each bundle's folder name to its folder; the first path that has the name wins, unreadable ones count as empty."""
    found: dict[str, Path] = {}
    for path in paths:
        try:
            folders = sorted(folder for folder in path.iterdir() if (folder / BUNDLE_FILE).is_file())
        except (OSError, ValueError):  # missing, no folder, not ours to read
            continue
        for folder in folders:
            found.setdefault(folder.name, folder)
    return found
