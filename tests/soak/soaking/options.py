"""The command line, and how streams are spread over senders."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Final

from soaking.feeder import Lane

__all__ = ["connections_of", "parsed", "quiet_s"]

_SHARES: Final = {"rule": 0.03, "loose": 0.03, "swap": 0.04, "copy": 0.03, "clip": 0.03, "wide": 0.01, "turn": 0.04}
"""Of all streams; at least two each. What is left are plain ones."""
_ROUGH: Final = 0.04
_STEADY: Final = 4
_SENDERS: Final = 8
_PLACES: Final = 60


def parsed(arguments: list[str] | None, description: str) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3600.0, help="Wall time, at least (3600).")
    parser.add_argument("--stream-hours", type=float, help="Audio, at least (500 an hour).")
    parser.add_argument("--reloads", type=int, help="Reloads that change something (200 an hour).")
    parser.add_argument("--reconnects", type=int, help="Reconnects (1000 an hour).")
    parser.add_argument("--rotations", type=int, help="Journal rotations (10 an hour).")
    parser.add_argument("--streams", type=int, default=200, help="Streams at a time over ZeroMQ (200).")
    parser.add_argument(
        "--bare", type=float, default=0.0, help="Share of streams without a model, for slow machines (0)."
    )
    parser.add_argument("--chunk", type=float, default=4.0, help="Seconds of audio in a message (4).")
    parser.add_argument("--tails", type=int, default=6, help="Growing files (6).")
    parser.add_argument("--journal-mb", type=int, default=4, help="[journal] max_mb (4).")
    parser.add_argument("--workers", type=int, default=2, help="The daemon's workers (2).")
    parser.add_argument("--every", type=float, default=5.0, help="Seconds between two samples (5).")
    parser.add_argument("--minutes", type=float, default=10.0, help="Length of the loop of audio (10).")
    parser.add_argument(
        "--limit-kb-per-hour", type=float, default=20_480.0, help="What the slope's interval must lie below (20480)."
    )
    parser.add_argument(
        "--more-files", type=int, default=4, help="Open files by which the end may be above the beginning (4)."
    )
    parser.add_argument("--more-threads", type=int, default=1, help="The same for threads (1).")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--python", default=sys.executable, help="The daemon's interpreter.")
    parser.add_argument("--source", type=Path, help="The checkout that the daemon runs (this one).")
    parser.add_argument("--models", type=Path, help="Folder of bundles (those of this checkout).")
    parser.add_argument("--data", type=Path, help="Folder of recordings ($STREAMCLS_DATA).")
    parser.add_argument("--probe", action="store_true", help="Count objects and allocations in the daemon; slow.")
    parser.add_argument("--out", type=Path, default=Path("soak-run"), help="Folder for everything (soak-run).")
    options = parser.parse_args(arguments)
    hours = options.seconds / 3600
    for name, per_hour in (("stream_hours", 500.0), ("reloads", 200), ("reconnects", 1000), ("rotations", 10)):
        if getattr(options, name) is None:
            setattr(options, name, type(per_hour)(per_hour * hours))
    root = Path(__file__).resolve().parents[3]
    options.source = (options.source or root).resolve()
    options.models = (options.models or options.source / "models").resolve()
    options.out = options.out.resolve()
    if options.data is None:
        if not os.environ.get("STREAMCLS_DATA"):
            parser.error("it needs recordings: give --data, or set STREAMCLS_DATA")
        options.data = Path(os.environ["STREAMCLS_DATA"])
    return options


def quiet_s(seconds: float) -> float:
    """Return how long each of the quiet stretches is: before samples count, before the unrest, and after it."""
    return min(60.0, max(15.0, seconds / 20))


def connections_of(streams: int, bare: float = 0.0) -> list[list[Lane]]:
    """Spread streams over senders, a share of them as streams that no model listens to.

    Returns
    -------
    list
        First the steady streams' own sender, in the end that of the streams which lose what is under way when it breaks off.
    """
    names = [f"{kind}-{number}" for kind, share in _SHARES.items() for number in range(max(2, round(share * streams)))]
    rough = [f"rough-{number}" for number in range(max(2, round(_ROUGH * streams)))]
    plain = max(0, streams - len(names) - len(rough) - _STEADY)
    without = min(plain, round(bare * streams))
    names += [f"plain-{number}" for number in range(plain - without)] + [f"bare-{number}" for number in range(without)]
    senders: list[list[Lane]] = [[] for _ in range(_SENDERS)]
    for number, name in enumerate(names):
        senders[number % _SENDERS].append(Lane(name, (7 * number) % _PLACES, wide=name.startswith("wide-")))
    steady = [Lane(f"steady-{number}", 13 * number) for number in range(_STEADY)]
    return [steady, *senders, [Lane(name, 5 * number % _PLACES) for number, name in enumerate(rough)]]
