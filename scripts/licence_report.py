"""Reports the licences of everything that `pip install streamcls` brings, and fails on copyleft that is not accounted for.

Usage: licence_report.py PYTHON, the interpreter of an environment that holds streamcls and nothing else.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Final

TOOLS: Final = {"pip", "setuptools", "wheel", "pkg-resources"}

# Copyleft that is known and accepted, with what it means.
ACCEPTED: Final = {
    "soxr": "LGPL-2.1-or-later, a shared library used unchanged through its Python interface",
    "certifi": "MPL-2.0, data files used unchanged",
    "tqdm": "MPL-2.0 and MIT, used unchanged",
}
# Wheels whose own licence is permissive but which bundle a library that is not.
BUNDLED: Final = {
    "av": "bundles FFmpeg's shared libraries (their licence as the libraries state it is printed below)",
    "pyzmq": "bundles libzmq (MPL-2.0) and libsodium (ISC)",
    "soxr": "bundles libsoxr (LGPL-2.1-or-later)",
    "numpy": "bundles OpenBLAS (BSD-3-Clause) and GCC's run-time libraries (GPL-3.0 with the GCC run-time exception)",
}
# Of these the decision on licences says that PyAV's wheel brings them.
STATED: Final = ("libx264", "libx265")
GPL_IN_WHEELS: Final = {
    "libx264": "GPL-2.0-or-later",
    "libx265": "GPL-2.0-or-later",
    "libxvidcore": "GPL-2.0-or-later",
    "libpostproc": "GPL-2.0-or-later",
}
COPYLEFT: Final = re.compile(r"\b(A?GPL|LGPL|MPL|EUPL|CDDL|EPL|GNU|Mozilla|copyleft)", re.IGNORECASE)


def installed(python: str) -> list[dict[str, str]]:
    """Return name, version and licence of every distribution in an environment."""
    command = [sys.executable, "-m", "piplicenses", "--python", python, "--from=mixed", "--format=json", "--with-urls"]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    rows: list[dict[str, str]] = json.loads(result.stdout)
    return [row for row in rows if row["Name"].lower() not in TOOLS]


def ffmpeg_licences(python: str) -> tuple[list[str], list[str]]:
    """Return what FFmpeg's libraries in PyAV's wheel say of their licence, and the names of all libraries that the wheel bundles."""
    code = (
        "import json, pathlib, av; from av._core import library_meta; "
        "folder = pathlib.Path(av.__file__).parent.parent / 'av.libs'; "
        "print(json.dumps([sorted({m['license'] for m in library_meta.values()}), "
        "sorted({p.name.split('-')[0] for p in folder.glob('*.so*')})]))"
    )
    result = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    licences, libraries = json.loads(result.stdout)
    return licences, libraries


def main() -> int:
    """Print the report; return 1 where a copyleft licence is not accounted for."""
    python = sys.argv[1]
    refused = []
    print("| package | version | licence | remark |\n|---|---|---|---|")
    for row in installed(python):
        name = row["Name"].lower()
        remarks = [text for table in (ACCEPTED, BUNDLED) if (text := table.get(name))]
        if COPYLEFT.search(row["License"]) and name not in ACCEPTED:
            refused.append(f"{row['Name']}: {row['License']}")
        print(f"| {row['Name']} | {row['Version']} | {' '.join(row['License'].split())[:80]} | {'; '.join(remarks)} |")
    licences, libraries = ffmpeg_licences(python)
    print(f"\nFFmpeg in PyAV's wheel says of itself: {', '.join(licences)}")
    print(f"Libraries in that wheel: {', '.join(libraries)}")
    unstated = sorted(set(libraries) & GPL_IN_WHEELS.keys() - set(STATED))
    refused += [f"{name} in PyAV's wheel: {GPL_IN_WHEELS[name]}" for name in unstated]
    for text in refused:
        print(f"not accounted for: {text}", file=sys.stderr)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
