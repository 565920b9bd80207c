"""Audio devices, asked for in another process with a time limit: a sound system that hangs costs nobody anything."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from streamcls.service.doctor.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from streamcls.service.doctor.findings import Level

__all__ = ["device_findings"]

_TIMEOUT_S: Final = 15.0
_COMMAND: Final = (sys.executable, "-m", "streamcls", "devices", "--json")


def device_findings(
    *, needed: bool, command: Sequence[str] = _COMMAND, timeout_s: float = _TIMEOUT_S
) -> Iterator[Finding]:
    """Look at what can record.

    Parameters
    ----------
    needed
        Whether a source of the configuration records: it is a problem then that nothing can.
    """
    level: Level = "problem" if needed else "ok"
    try:
        child = subprocess.run(list(command), capture_output=True, text=True, timeout=timeout_s, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        hint = "does the sound server run? restart it, or unplug and plug in the device"
        what = f"the sound system does not answer within {timeout_s:g} s"
        yield Finding("devices", "problem" if needed else "warning", what, hint)
        return
    except OSError as error:
        yield Finding("devices", level, f"the devices cannot be listed: {error}")
        return
    if child.returncode:
        said = child.stderr.strip().splitlines()
        reason = said[-1].removeprefix("Error: ") if said else f"status {child.returncode}"
        yield Finding("devices", level, f"the devices cannot be listed: {reason}", "" if not needed else "see above")
        return
    found = json.loads(child.stdout)
    for device in found:
        mark = ", the default" if device["default"] else ""
        what = f'{device["number"]} "{device["name"]}" ({device["host_api"]}, {device["channels"]} channels, '
        yield Finding("devices", "ok", f"{what}{device['sample_rate']} Hz{mark})")
    if not found:
        hint = "plug one in; the daemon's user must be in the group audio" if needed else ""
        yield Finding("devices", level, "nothing here can record" + ("" if needed else ", and nothing needs to"), hint)
