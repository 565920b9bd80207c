"""A consumer that is killed again and again: it notes each event on disk, and only then asks for the next.

Usage: consumer.py ENDPOINT FOLDER
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path

from streamcls.bus.client import Cursor, EventClient, Loss

_MEMBERS = ("id", "type", "subject", "epoch", "sequence", "position")


def main(endpoint: str, folder: Path) -> None:
    """Follow everything, windows included, so that there is something to drop."""
    logging.basicConfig(level="INFO", format="%(asctime)s %(message)s")
    with (folder / "received.jsonl").open("ab", buffering=0) as file:
        client = EventClient(
            endpoint, high_water_mark=50, name="consumer", cursor=Cursor(folder, "consumer"), begin="first"
        )
        with client:
            for item in client.items():
                if isinstance(item, Loss):
                    fact = {"loss": item.reason.value, "topic": item.topic, "count": item.count}
                else:
                    data = item.envelope["data"]
                    kept = data if item.topic.startswith("moderation.alert/") else {"state": data.get("state")}
                    fact = {name: item.envelope.get(name) for name in _MEMBERS} | {
                        "data": kept,
                        "replayed": item.replayed,
                    }
                    if item.topic.startswith(("moderation.window/", "daemon.heartbeat/")):
                        continue
                os.write(file.fileno(), json.dumps(fact).encode() + b"\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
