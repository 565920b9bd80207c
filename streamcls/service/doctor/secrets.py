"""Whether a configuration that holds secrets may be read by everybody on the machine."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, SecretBytes, SecretStr

from streamcls.service.doctor.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["secret_findings"]

_FROM_ELSEWHERE: Final = "${"
"""In a secret that names an environment variable, which is where it is kept."""


def secret_findings(path: Path, parts: Iterable[tuple[str, BaseModel]]) -> Iterator[Finding]:
    """Look at who may read a configuration file; the secrets themselves are in no finding.

    Parameters
    ----------
    parts
        Each component's place, e.g. ``subscriber[0] "webhook"``, and its configuration.
    """
    places = [f"{where}.{key}" for where, config in parts for key in _secrets(config)]
    if places and _open_to_all(path):
        what = f"{path}: everybody on this machine may read it, and it holds secrets: {', '.join(places)}"
        hint = f"chgrp streamcls {path}; chmod 640 {path}: then root and the daemon's group alone may"
        yield Finding("configuration", "warning", what, hint)


def _secrets(config: BaseModel) -> Iterator[str]:
    """Give the keys that were set to a secret which stands in the file itself."""
    for key in sorted(config.model_fields_set):
        if _is_secret(getattr(config, key)):
            yield key


def _is_secret(value: Any) -> bool:
    if isinstance(value, (SecretStr, SecretBytes)):
        text = value.get_secret_value()
        return bool(text) and _FROM_ELSEWHERE not in (text if isinstance(text, str) else text.decode(errors="replace"))
    if isinstance(value, BaseModel):
        return any(True for _ in _secrets(value))
    if isinstance(value, dict):
        return any(map(_is_secret, value.values()))
    return isinstance(value, (list, tuple)) and any(map(_is_secret, value))


def _open_to_all(path: Path) -> bool:
    """Whether the permissions let everybody read a file, and enter every folder above it."""
    path = path.absolute()
    try:
        return bool(path.stat().st_mode & stat.S_IROTH) and all(
            folder.stat().st_mode & stat.S_IXOTH for folder in path.parents
        )
    except OSError:
        return False
