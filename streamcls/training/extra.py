"""Packages that the extra ``train`` installs and measuring alone does not always need."""

from __future__ import annotations

import importlib.util

from streamcls.errors import TrainingError

__all__ = ["need"]


def need(package: str, what: str) -> None:
    """Make sure that a package is installed.

    Parameters
    ----------
    what
        Needs it; begins the message.

    Raises
    ------
    TrainingError
        It is not; the message says how to install it.
    """
    if importlib.util.find_spec(package) is None:
        raise TrainingError(f"{what} needs {package}, which is not installed: pip install 'streamcls[train]'")
