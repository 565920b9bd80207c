"""Records with the source ``mic`` in a process of its own: ``python mic_child.py OUT CONFIG``.

Says what happens in JSON lines on standard output and obeys lines on standard input: ``again`` calls ``items`` once more after
an error, ``end`` records two more seconds and writes OUT (npz: samples, first indices, lengths, wall clock of each chunk).
"""

from __future__ import annotations

import json
import queue
import sys
import threading
import time
from pathlib import Path

import numpy as np

from streamcls import Chunk, RetryableSourceError, SourceContext, SourceError
from streamcls_mic.config import Config
from streamcls_mic.source import MicSource

AFTER_S = 2


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


def main(out: str, config: str) -> None:
    commands: queue.Queue[str] = queue.Queue()
    threading.Thread(target=lambda: [commands.put(line.strip()) for line in sys.stdin], daemon=True).start()
    source = MicSource(Config.model_validate_json(config), SourceContext("mic-1", Path()))
    stop = threading.Event()
    chunks: list[Chunk] = []
    end_at = None
    while not stop.is_set():
        heard = False
        try:
            for item in source.items(stop):
                if not isinstance(item, Chunk):
                    say(kind=type(item).__name__, state=getattr(item, "state", ""), reason=getattr(item, "reason", ""))
                    continue
                chunks.append(item)
                if not heard:
                    say(kind="heard", first_sample=item.first_sample, rate=item.sample_rate, at=time.monotonic())
                    heard = True
                if not commands.empty() and commands.get() == "end":
                    end_at = item.end_sample + AFTER_S * item.sample_rate
                if end_at is not None and item.end_sample >= end_at:
                    stop.set()
        except SourceError as error:
            end = chunks[-1].end_sample if chunks else 0
            retryable = isinstance(error, RetryableSourceError)
            say(kind="error", retryable=retryable, text=str(error), end_sample=end, at=time.monotonic())
            if commands.get() != "again":
                return
    np.savez(
        out,
        samples=np.concatenate([chunk.samples for chunk in chunks]),
        first=[chunk.first_sample for chunk in chunks],
        length=[len(chunk.samples) for chunk in chunks],
        captured_at=[chunk.captured_at for chunk in chunks],
    )
    say(kind="done", counters=source.counters)


if __name__ == "__main__":
    main(*sys.argv[1:])
