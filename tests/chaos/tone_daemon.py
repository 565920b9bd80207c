"""The daemon, with one backend more: a matrix that answers to tones. Usage: tone_daemon.py CONFIG"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "sample_plugin"))

from streamcls_sample.matrix import MatrixBackend

from streamcls.daemon import Daemon, Prepared, prepare_file
from streamcls.plugins import discover
from streamcls.service.logs import configure_logs


def prepared(config: Path) -> Prepared:
    """Read a configuration that may name the backend ``matrix``."""
    registry = discover()
    registry.backends["matrix"] = MatrixBackend
    return prepare_file(config, registry)


if __name__ == "__main__":
    configure_logs("info")
    sys.exit(Daemon(prepared(Path(sys.argv[1]))).run())
