"""Puts the figures of a run into the page that tells of it: python tests/soak/fill.py RUN DOCS [--date YYYY-MM-DD]."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import time
from pathlib import Path
from typing import Any, Final

_PLACE: Final = re.compile(r"@([A-Z_]+)@")
_KB_IN_MIB: Final = 1_024


def words_of(figures: dict[str, Any], date: str) -> dict[str, str]:
    """Return what stands for each place-holder."""
    memory, reloads = figures["memory"], figures["reloads"]
    slope = memory["slope_kb_per_hour"] or dict.fromkeys(("per_unit", "low", "high"), float("nan"))
    each = memory["kb_per_reload"] or dict.fromkeys(("per_unit", "low", "high"), float("nan"))
    took = reloads["took_s"] or {"median": float("nan"), "most": float("nan")}
    truth, journal = figures["truth"], figures["journal"]

    def mib(key: str) -> str:
        value = memory[key][-1] if isinstance(memory[key], list) else memory[key]
        return f"{value / _KB_IN_MIB:.0f}"

    def three(name: str) -> str:
        return ", ".join(f"{figures[name][key]:g}" for key in ("first", "last", "most"))

    return {
        "DATE": date,
        "MACHINE": figures["machine"],
        "SECONDS": f"{figures['seconds']}",
        "STREAM_HOURS": f"{figures['stream_hours']:g}",
        "STREAMS": f"{figures['streams_at_a_time']}",
        "RELOADS": f"{reloads['applied']}",
        "REFUSED": f"{reloads['refused_as_they_must']}",
        "RECONNECTS": f"{figures['reconnects']['count']}",
        "ROTATIONS": f"{journal['rotations']}",
        "RELOAD_MEDIAN": f"{took['median']:.2f}",
        "RELOAD_MOST": f"{took['most']:.2f}",
        "RSS_FIRST": mib("before_kb"),
        "RSS_HALF": mib("half_kb"),
        "RSS_LAST": mib("last_kb"),
        "RSS_MOST": mib("most_kb"),
        "SLOPE": f"{slope['per_unit']:+.0f}",
        "LOW": f"{slope['low']:+.0f}",
        "HIGH": f"{slope['high']:+.0f}",
        "PER_RELOAD": f"{each['per_unit']:+.1f}",
        "PER_RELOAD_LOW": f"{each['low']:+.1f}",
        "PER_RELOAD_HIGH": f"{each['high']:+.1f}",
        "FILES": three("files"),
        "THREADS": three("threads"),
        "CPU_MS": f"{figures['cpu_ms_per_stream_second']:.2f}",
        "EVENTS": f"{journal['position']}",
        "MISSING": f"{figures['events']['positions_missing'] + figures['events']['not_received_at_the_end']}",
        "TRUTH": f"{truth['findings_told']}",
        "TRUTH_WRONG": f"{truth['missing']}, {truth['untrue']}, {truth['different']}",
        "DROPPED": f"{figures['dropped_samples']}",
        "GAPS": f"{len(figures['streams_with_gaps_that_must_have_none'])}",
    }


def filled(text: str, words: dict[str, str]) -> tuple[str, list[str]]:
    """Return a text with its places filled, and the names of those for which there is no word."""
    unknown = [name for name in _PLACE.findall(text) if name not in words]
    return _PLACE.sub(lambda match: words.get(match[1], match[0]), text), unknown


def main() -> int:
    """Fill the page, and copy picture and figures beside it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("docs", type=Path)
    parser.add_argument("--date", default=time.strftime("%Y-%m-%d", time.gmtime()))
    options = parser.parse_args()
    figures = json.loads((options.run / "soak.json").read_text(encoding="utf-8"))
    page = options.docs / "soak.md"
    text, unknown = filled(page.read_text(encoding="utf-8"), words_of(figures, options.date))
    page.write_text(text, encoding="utf-8")
    for name in ("soak.png", "soak.json"):
        shutil.copy(options.run / name, options.docs / name)
    if unknown:
        print(f"{page}: to be filled by hand: {', '.join(unknown)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
