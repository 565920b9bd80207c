"""The devices that can record, and the choice of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from streamcls import RetryableSourceError, SourceError

__all__ = ["InputDevice", "choose", "input_devices", "listing"]

_NONE_AT_ALL: Final = "plug one in, or let the daemon's user record (with ALSA it must be in the group audio)"
"""What may not be opened is not listed either."""


@dataclass(frozen=True, slots=True)
class InputDevice:
    """A device that can record.

    Attributes
    ----------
    number
        PortAudio's number of it; it may change when devices come and go.
    channels
        The most it records at once.
    sample_rate
        Its default in hertz.
    default
        True for the one that is used where none is named.
    """

    number: int
    name: str
    host_api: str
    channels: int
    sample_rate: int
    default: bool


def input_devices(sounddevice: Any) -> list[InputDevice]:
    """Return all devices with at least one input channel, by number."""
    apis = sounddevice.query_hostapis()
    default = sounddevice.default.device[0]
    if default < 0:
        defaults = (api["default_input_device"] for api in apis)
        default = next((number for number in defaults if number >= 0), -1)
    return [
        InputDevice(
            number=number,
            name=device["name"],
            host_api=apis[device["hostapi"]]["name"],
            channels=device["max_input_channels"],
            sample_rate=round(device["default_samplerate"]),
            default=number == default,
        )
        for number, device in enumerate(sounddevice.query_devices())
        if device["max_input_channels"] > 0
    ]


def listing(devices: list[InputDevice]) -> str:
    """Name the devices in one line, for messages."""
    return ", ".join(f'{device.number} "{device.name}"' for device in devices) or "none"


def choose(devices: list[InputDevice], wanted: int | str | None) -> InputDevice:
    """Return the device with that number, that name, or the only one whose name contains it; None means the default.

    Raises
    ------
    RetryableSourceError
        No such device is there now.
    SourceError
        Several devices fit.
    """
    if wanted is None:
        found = [device for device in devices if device.default]
    elif isinstance(wanted, int):
        found = [device for device in devices if device.number == wanted]
    else:
        key = wanted.casefold()
        found = [device for device in devices if device.name.casefold() == key]
        found = found or [device for device in devices if key in device.name.casefold()]
    if not found:
        what = "no default input device" if wanted is None else f"no input device {wanted!r}"
        advice = "plug it in or correct device" if devices else _NONE_AT_ALL
        raise RetryableSourceError(f"{what}; available: {listing(devices)}; {advice}")
    if len(found) > 1:
        raise SourceError(f"input device {wanted!r} may be any of {listing(found)}; give more of its name or a number")
    return found[0]
