"""Breaks one thing after the other around a real daemon, and writes down what an operator sees.

Usage: python tests/faults/faults.py [NAME ...] [--list] [--markdown FILE.md] [--json FILE.json]

Without a name all faults are injected, which takes about ten minutes; --markdown puts the table between the two marks of a page that is
there, else makes one. Exit status: 0 everything held that must hold, 1 something did not.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import disks
import followed
import load
import neighbours
import pytest
import senders
import sound
import starting
import timing

if TYPE_CHECKING:
    from collections.abc import Callable

    from stage import Seen

__all__ = ["FAULTS", "QUICK"]

FAULTS: Final[tuple[Callable[[Path], Seen], ...]] = (
    sound.device_vanishes,
    sound.sound_server_dies,
    sound.device_not_permitted,
    followed.file_truncated,
    followed.file_replaced,
    followed.file_not_readable,
    followed.garbage_in_a_file,
    senders.sender_killed,
    senders.half_a_frame,
    senders.half_a_message,
    senders.garbage_from_a_sender,
    load.model_replaced_by_garbage,
    load.signal_storm,
    load.ten_times_the_load,
    disks.read_only_while_running,
    disks.read_only_at_start,
    disks.disk_full,
    disks.disk_full_at_start,
    disks.runtime_folder_full,
    disks.journal_deleted,
    starting.publish_port_taken,
    starting.replay_port_taken,
    starting.ingest_port_taken,
    starting.second_daemon,
    starting.configuration_not_readable,
    starting.few_open_files_at_start,
    starting.few_open_files_while_running,
    timing.clock_set_back,
    timing.clock_set_forward,
    timing.process_stopped,
    neighbours.web_server_hangs,
    neighbours.out_of_memory,
)
_SLOW: Final = frozenset(
    {
        sound.device_vanishes,
        sound.sound_server_dies,
        sound.device_not_permitted,
        senders.sender_killed,
        load.model_replaced_by_garbage,
        load.signal_storm,
        load.ten_times_the_load,
        disks.read_only_while_running,
        disks.disk_full,
        starting.few_open_files_while_running,
        timing.clock_set_back,
        timing.clock_set_forward,
        timing.process_stopped,
        neighbours.web_server_hangs,
        neighbours.out_of_memory,
    }
)
QUICK: Final = tuple(fault for fault in FAULTS if fault not in _SLOW)
"""Those that take less than ten seconds or so."""
_BEGIN, _END = "<!-- table: begin -->\n", "<!-- table: end -->\n"


def _inject(fault: Callable[[Path], Seen]) -> tuple[dict[str, object], bool]:
    """Inject one fault in a folder of its own; return what was seen, and whether all held that must hold."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as place:
        try:
            seen = asdict(fault(Path(place)))
        except pytest.skip.Exception as reason:
            return {"fault": fault.__name__, "skipped": str(reason)}, True
        except (AssertionError, LookupError, OSError, ValueError) as error:
            return {"fault": fault.__name__, "failed": f"{type(error).__name__}: {error}"}, False
    seen = json.loads(json.dumps(seen, ensure_ascii=False).replace(place, "/FOLDER"))
    return {"name": fault.__name__, **seen, "seconds": round(time.monotonic() - began, 1)}, True


def _overview(found: list[dict[str, object]]) -> str:
    """Return a table of all faults, with links to their sections."""
    rows = []
    for seen in found:
        title = str(seen["fault"])
        anchor = re.sub(r"[^a-z0-9 _-]", "", title.lower()).replace(" ", "-")
        rows.append(f"| [{title}](#{anchor}) | {seen.get('lost', '')} | {seen.get('recovers', '')} |")
    return "\n".join(["| fault | lost | recovers |", "|---|---|---|", *rows, ""])


def _section(seen: dict[str, object]) -> str:
    """Return one fault as a section of a page."""
    if "injected" not in seen:
        what = f"not injected: {seen['skipped']}" if "skipped" in seen else f"FAILED: {seen['failed']}"
        return f"## {seen['fault']}\n\n{what}\n"
    title = str(seen["fault"])
    said = [f"log     {line}" for line in seen["log"]]  # type: ignore[attr-defined]
    said += [f"event   {line}" for line in seen["events"]]  # type: ignore[attr-defined]
    said += [f"status  {line}" for line in seen["status"]]  # type: ignore[attr-defined]
    said += [f"doctor  {line.removesuffix(' ()')}" for line in seen["doctor"]]  # type: ignore[attr-defined]
    exits = ", ".join(f"{command}: **{code}**" for command, code in seen["exits"].items())  # type: ignore[attr-defined]
    rows = [
        ("injected", seen["injected"]),
        ("exit status", exits),
        ("lost", seen["lost"]),
        ("recovers", seen["recovers"]),
        ("the other streams", seen["others"]),
    ]
    table = "\n".join(f"| {key} | {value} |" for key, value in rows if value)
    words = "\n```\n" + "\n".join(said) + "\n```\n" if said else ""
    return f"## {title[0].upper()}{title[1:]}\n\n| `{seen['name']}` | |\n|---|---|\n{table}\n{words}"


def _write(path: Path, found: list[dict[str, object]]) -> None:
    table = _overview(found) + "\n" + "\n".join(_section(seen) for seen in found)
    text = path.read_text("utf-8") if path.exists() else f"# Faults\n\n{_BEGIN}{_END}"
    head, _, rest = text.partition(_BEGIN)
    path.write_text(f"{head}{_BEGIN}\n{table}\n{_END}{rest.partition(_END)[2]}", "utf-8")


def main() -> int:
    """Inject what was named; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="faults to inject, all where none is named")
    parser.add_argument("--list", action="store_true", help="only print their names")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    known = {fault.__name__: fault for fault in FAULTS}
    unknown = [name for name in options.names if name not in known]
    if unknown:
        parser.error(f"no fault is called {', '.join(unknown)}; --list shows what there is")
    if options.list:
        print("\n".join(f"{name:32} {(fault.__doc__ or '').strip()}" for name, fault in known.items()))
        return 0
    found, held = [], True
    for name in options.names or known:
        seen, good = _inject(known[name])
        found.append(seen)
        held &= good
        how = "held" if good and "skipped" not in seen else "skipped" if good else "FAILED"
        print(f"{how:8} {name}", *(str(seen[key]) for key in ("skipped", "failed") if key in seen), flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
    if options.markdown:
        _write(options.markdown, found)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
