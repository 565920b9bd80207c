"""``python -m streamcls`` is the command line."""

from __future__ import annotations

from streamcls.cli import main

if __name__ == "__main__":
    main()
