"""Audio devices, asked for in another process with a time limit: a sound system that hangs costs nobody anything."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

from streamcls.config.problems import did_you_mean
from streamcls.service.doctor.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from streamcls.service.doctor.findings import Level

__all__ = ["device_findings"]

_TIMEOUT_S: Final = 15.0
_COMMAND: Final = (sys.executable, "-m", "streamcls", "devices", "--json")


def device_findings(
    *,
    needed: bool,
    wanted: Mapping[str, int | str] | None = None,
    command: Sequence[str] = _COMMAND,
    timeout_s: float = _TIMEOUT_S,
) -> Iterator[Finding]:
    """Look at what can record.

    Parameters
    ----------
    needed
        Whether a source of the configuration records: it is a problem then that nothing can.
    wanted
        By the name of such a source: the device that it names, by number, name or part of a name.
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
    found: list[dict[str, Any]] = json.loads(child.stdout)
    for device in found:
        mark = ", the default" if device["default"] else ""
        what = f'{device["number"]} "{device["name"]}" ({device["host_api"]}, {device["channels"]} channels, '
        yield Finding("devices", "ok", f"{what}{device['sample_rate']} Hz{mark})")
    if not found:
        hint = "plug one in; the daemon's user must be in the group audio" if needed else ""
        yield Finding("devices", level, "nothing here can record" + ("" if needed else ", and nothing needs to"), hint)
    else:
        for source, name in (wanted or {}).items():
            yield from _match(source, name, found)


def _match(source: str, wanted: int | str, devices: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Say where the device that a source names is not there, or may be several."""
    if isinstance(wanted, int):
        fitting = [device for device in devices if device["number"] == wanted]
    else:
        key = wanted.casefold()
        fitting = [device for device in devices if device["name"].casefold() == key]
        fitting = fitting or [device for device in devices if key in device["name"].casefold()]
    if not fitting:
        known = [device["name"] for device in devices]
        hint = f"plug it in, or correct device; {did_you_mean(str(wanted), known)}"
        yield Finding("devices", "problem", f'source "{source}": no device here fits {wanted!r}', hint)
    elif len(fitting) > 1:
        several = ", ".join(f'{device["number"]} "{device["name"]}"' for device in fitting)
        hint = "give more of its name, or its number"
        yield Finding("devices", "problem", f'source "{source}": {wanted!r} may be any of {several}', hint)
