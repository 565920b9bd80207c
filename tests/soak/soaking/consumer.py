"""A consumer that is killed now and then: it notes each journaled event on disk, and only then asks for the next.

Usage: consumer.py ENDPOINT FOLDER
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any, Final

KINDS: Final = ("genre.segment", "moderation.", "stream.", "daemon.")
"""All but windows, which no journal keeps here; of ``moderation.`` they are passed over."""
_ENVELOPE: Final = ("id", "type", "subject", "position", "epoch", "sequence")
_DATA: Final = ("id", "phase", "label", "reason", "state", "path")


def fact_of(envelope: dict[str, Any], *, whole: bool) -> dict[str, Any]:
    """Return what is noted of an event: of streams whose truth is known, all of its data."""
    data = envelope["data"]
    kept = data if whole else {key: data[key] for key in _DATA if key in data}
    return {key: envelope[key] for key in _ENVELOPE if key in envelope} | {"data": kept}


def main(endpoint: str, folder: Path) -> None:
    """Follow until killed."""
    from streamcls.bus.client import Cursor, EventClient, Loss

    logging.basicConfig(level="INFO", format="%(asctime)s %(message)s")
    with (folder / "received.jsonl").open("ab", buffering=0) as file:
        cursor = Cursor(folder, "consumer")
        with EventClient(endpoint, kinds=list(KINDS), name="consumer", cursor=cursor, begin="first") as client:
            for item in client.items():
                if isinstance(item, Loss):
                    fact = {"loss": item.reason.value, "topic": item.topic, "count": item.count}
                elif item.topic.startswith(("moderation.window/", "daemon.heartbeat/")):
                    continue
                else:
                    fact = fact_of(item.envelope, whole=item.envelope["subject"].startswith("steady-"))
                    fact["replayed"] = item.replayed
                os.write(file.fileno(), json.dumps(fact, separators=(",", ":")).encode() + b"\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
