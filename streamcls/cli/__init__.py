"""The command line. Each command imports what it needs when it runs, so that ``--help`` is quick."""

from __future__ import annotations

from streamcls.cli.main import main

__all__ = ["main"]
