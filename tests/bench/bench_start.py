"""From cold start to the first processed chunk, beside what Python and numpy take alone. Run by name; asserts nothing."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RATE = 22_050
RUNS = 7
# As installed: with compiled modules, which the first, uncounted run writes.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def configuration(folder: Path) -> Path:
    """A daemon that follows a file of PCM with two models, and prints its events."""
    (folder / "noise.pcm").write_bytes(bytes(2 * RATE * 10))
    config = folder / "daemon.toml"
    config.write_text(
        f"""
[daemon]
state_dir = "{folder}"
[bus]
publish = ["ipc://{folder}/events"]
[[source]]
name = "file"
type = "filetail"
path = "{folder}/noise.pcm"
start = "beginning"
format = {{ sample_rate = {RATE}, channels = 1, encoding = "pcm_s16le" }}
[[subscriber]]
type = "console"
""",
        encoding="utf-8",
    )
    return config


def first_chunk_s(config: Path) -> tuple[float, float]:
    """Start the daemon; return the seconds until the first chunk was processed, and its resident megabytes a moment later."""
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "streamcls", "run", str(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=ENVIRONMENT,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "stream.status" in line and "running" in line:
                break
        taken = time.perf_counter() - began
        for line in process.stdout:
            if "moderation.window" in line:
                break
        pages = int(Path(f"/proc/{process.pid}/statm").read_text(encoding="ascii").split()[1])
        process.kill()
    return taken, pages * 4096 / 2**20


def imports_s(code: str) -> float:
    """Return the seconds that a Python process with some imports takes."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env=ENVIRONMENT)
    return time.perf_counter() - began


def main() -> None:
    """Measure in turn, and print medians and ratios."""
    with tempfile.TemporaryDirectory() as folder:
        config = configuration(Path(folder))
        first_chunk_s(config)
        runs = [
            (first_chunk_s(config), imports_s("import numpy"), imports_s("import numpy, ai_edge_litert.interpreter"))
            for _ in range(RUNS)
        ]
    start = statistics.median(run[0][0] for run in runs)
    memory = statistics.median(run[0][1] for run in runs)
    numpy_s = statistics.median(run[1] for run in runs)
    litert_s = statistics.median(run[2] for run in runs)
    print(
        f"start to first processed chunk  {start:.2f} s   {start / numpy_s:.1f} x 'import numpy'   "
        f"{start / litert_s:.1f} x 'import numpy, litert'"
    )
    print(f"resident, one stream, two models  {memory:.0f} MB")


if __name__ == "__main__":
    main()
