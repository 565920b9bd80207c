"""The composition root: what is started in which order, and stopped in the reverse."""

from __future__ import annotations

from streamcls.daemon.core import Daemon
from streamcls.daemon.prepare import Prepared, model_paths, prepare, prepare_file

__all__ = ["Daemon", "Prepared", "model_paths", "prepare", "prepare_file"]
