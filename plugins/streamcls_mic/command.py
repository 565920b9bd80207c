"""The command ``streamcls devices``."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from streamcls import SourceError

__all__ = ["devices"]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list instead of a table.")
def devices(*, as_json: bool) -> None:
    """List the devices that the source "mic" can record."""
    from streamcls_mic.devices import input_devices
    from streamcls_mic.portaudio import PortAudio

    try:
        with PortAudio.use() as sounddevice:
            found = input_devices(sounddevice)
    except SourceError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps([asdict(device) for device in found], indent=2))
        return
    if not found:
        click.echo("No device here can record.", err=True)
        return
    width = max(len(device.name) for device in found)
    click.echo(f"  no  {'name':{width}}  channels  rate/Hz  host API   (* default)")
    for device in found:
        mark = "*" if device.default else " "
        row = f"{device.number:>4}  {device.name:{width}}  {device.channels:>8}  {device.sample_rate:>7}"
        click.echo(f"{mark}{row[1:]}  {device.host_api}")
