"""``keys``: who may connect to the daemon, and what each may see."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from streamcls.cli import completion

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["register"]

_DEFAULT_DOMAINS: Final = ("publish", "replay")
_FOLDER: Final = click.Path(path_type=Path, file_okay=False)


def _folder_option(function: Callable[..., Any]) -> Callable[..., Any]:
    option = click.option(
        "--keys",
        "folder",
        type=_FOLDER,
        envvar="STREAMCLS_KEYS",
        help="The daemon's folder of keys, also from $STREAMCLS_KEYS [keys in the state folder].",
    )
    return option(function)


def _chosen(folder: Path | None) -> Path:
    """Return the folder that was named, or the one that a daemon with default settings uses."""
    from streamcls.config.resolve import state_folder

    return folder or state_folder() / "keys"


@click.group("keys", short_help="Make and revoke the keys of clients.")
def keys() -> None:
    """Make and revoke the keys of clients, for a daemon with [security] curve = true.

    \b
    streamcls keys init                        once, on the daemon's machine
    streamcls keys add desk                    somebody who may see everything
    streamcls keys add music --kind 'genre.*'  somebody who may see genres
    streamcls listen --keys desk.client.toml   with the file that add has made
    streamcls keys remove desk                 takes it back; a running daemon notices

    Secret keys are written to files that only you can read, and never printed.
    """  # noqa: D301 - click wants the character itself


@keys.command("init")
@click.argument("folder", type=_FOLDER, required=False)
def init(folder: Path | None) -> None:
    """Make the daemon's own keys, in FOLDER or in the state folder."""
    from streamcls.bus.keys import create_server

    chosen = _chosen(folder)
    public = create_server(chosen)
    click.echo(f"made {chosen}; the daemon's public key is {public}")


@keys.command("add")
@click.argument("name")
@_folder_option
@click.option("--kind", "kinds", multiple=True, help="A kind, or a beginning with * at its end; repeatable [all].")
@click.option(
    "--stream", "streams", multiple=True, help="A stream, or a beginning with * at its end; repeatable [all]."
)
@click.option(
    "--domain",
    "domains",
    type=click.Choice(["publish", "replay", "ingest", "control"]),
    multiple=True,
    help="What the key is good for; repeatable [publish and replay].",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The client's file [NAME.client.toml in this folder].",
)
@click.option("--public-key", metavar="KEY", help="Of a client that keeps its own pair: no file is written for it.")
def add(  # noqa: PLR0917 - click passes them by name
    name: str,
    folder: Path | None,
    kinds: tuple[str, ...],
    streams: tuple[str, ...],
    domains: tuple[str, ...],
    out: Path | None,
    public_key: str | None,
) -> None:
    """Admit the client NAME, and write the file that it needs.

    Bring the file to the client by a way that nobody else can read, and do not leave a copy. A running daemon admits the client
    within seconds.
    """
    from streamcls.bus.authorised import add_client, remove_client
    from streamcls.bus.keyfiles import key_problem
    from streamcls.bus.keys import CLIENT_SUFFIX, ClientKeys, load_server, new_pair, write_client_keys
    from streamcls.bus.permissions import Principal
    from streamcls.errors import BusError

    if "control" in domains and "replay" not in domains:
        raise click.UsageError("control is asked for where replay is: add --domain replay")
    chosen = _chosen(folder)
    server = load_server(chosen).public
    if public_key is not None and (problem := key_problem(public_key)):
        raise click.BadParameter(problem, param_hint="--public-key")
    pair = None if public_key is not None else new_pair()
    key = public_key or (pair.public if pair is not None else "")
    path = add_client(chosen, Principal(name, key, frozenset(domains or _DEFAULT_DOMAINS), kinds, streams))
    if pair is None:
        click.echo(f"{name} is admitted by {path}; the daemon's public key is {server}")
        return
    file = out or Path(f"{name}{CLIENT_SUFFIX}")
    try:
        write_client_keys(file, ClientKeys(server, pair.public, pair.secret))
    except BusError:
        remove_client(chosen, name)
        raise
    click.echo(f"{name} is admitted by {path}; its own file is {file}: bring it to the client, and keep it secret")


@keys.command("list")
@_folder_option
def list_(folder: Path | None) -> None:
    """Say who is admitted, and to what; the exit status is 1 where a file is wrong."""
    from streamcls.bus.authorised import load_authorised
    from streamcls.bus.keys import load_server

    chosen = _chosen(folder)
    load_server(chosen)
    clients, problems = load_authorised(chosen)
    for client in sorted(clients.values(), key=lambda one: one.name):
        kinds, streams = ", ".join(client.kinds) or "every kind", ", ".join(client.streams) or "every stream"
        click.echo(f"{client.name}  {client.key}  {', '.join(sorted(client.domains))}  {kinds}  {streams}")
    for name, problem in problems.items():
        click.echo(f"{name} is not admitted: {problem}", err=True)
    if problems:
        raise click.exceptions.Exit(1)


@keys.command("remove")
@click.argument("name", shell_complete=completion.clients)
@_folder_option
def remove(name: str, folder: Path | None) -> None:
    """Admit the client NAME no more; a running daemon ends its connections within seconds."""
    from streamcls.bus.authorised import remove_client

    chosen = _chosen(folder)
    remove_client(chosen, name)
    click.echo(f"{name} is no longer admitted")


def register(cli: click.Group) -> None:
    """Add the command."""
    cli.add_command(keys)
