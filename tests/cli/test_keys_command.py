"""``streamcls keys``: what is made is what a daemon reads, and no secret is printed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from streamcls.bus.authorised import load_authorised
from streamcls.bus.keys import load_client_keys, load_server, new_pair
from streamcls.cli import keys as command
from streamcls.errors import BusError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run a command of the group; the folder of keys is in the state folder, and files are written to the current one."""

    @click.group()
    def cli() -> None:
        """Stand in for the whole command line."""

    command.register(cli)
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.delenv("STREAMCLS_KEYS", raising=False)
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(cli, ["keys", *arguments])

    return invoke


def test_made_added_listed_and_removed(run: Callable[..., Result], tmp_path: Path) -> None:
    folder = tmp_path / "state" / "keys"
    made = run("init")
    assert made.exit_code == 0, made.output
    server = load_server(folder)
    assert server.public in made.output

    added = run("add", "music", "--kind", "genre.*", "--stream", "radio-1", "--stream", "tv-*")
    assert added.exit_code == 0, added.output
    file = tmp_path / "music.client.toml"
    keys = load_client_keys(file)
    assert keys.server_public == server.public
    assert file.stat().st_mode & 0o777 == 0o600
    client = load_authorised(folder)[0][keys.public]
    assert (client.name, client.kinds, client.streams) == ("music", ("genre.*",), ("radio-1", "tv-*"))
    assert client.domains == {"publish", "replay"}

    listed = run("list")
    assert listed.exit_code == 0
    assert listed.output.split() == ["music", keys.public, "publish,", "replay", "genre.*", "radio-1,", "tv-*"]

    removed = run("remove", "music")
    assert removed.exit_code == 0
    assert load_authorised(folder) == ({}, {})
    everything = made.output + added.output + listed.output + removed.output
    assert server.secret not in everything
    assert keys.secret not in everything


def test_a_client_that_keeps_its_own_pair_gets_no_file(run: Callable[..., Result], tmp_path: Path) -> None:
    run("init", "mine")
    pair = new_pair()
    added = run("add", "desk", "--keys", "mine", "--public-key", pair.public, "--domain", "ingest")
    assert added.exit_code == 0, added.output
    assert load_server(tmp_path / "mine").public in added.output
    assert load_authorised(tmp_path / "mine")[0][pair.public].domains == {"ingest"}
    assert not list(tmp_path.glob("*.client.toml"))


def test_where_the_clients_file_cannot_be_written_it_is_not_admitted(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    run("init")
    (tmp_path / "desk.client.toml").write_text("mine", encoding="utf-8")
    result = run("add", "desk")
    assert isinstance(result.exception, BusError)
    assert load_authorised(tmp_path / "state" / "keys") == ({}, {})


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("add desk", "streamcls keys init makes it"),
        ("list", "streamcls keys init makes it"),
        ("remove desk", "there is no client 'desk'"),
        ("add ../x", "no name of a client"),
        ("add x --kind a/b", "no kind"),
        ("add x --stream a*b", "no stream"),
    ],
)
def test_what_cannot_be_done_is_an_error(run: Callable[..., Result], arguments: str, says: str) -> None:
    if "init" not in says:
        run("init")
    result = run(*arguments.split())
    assert isinstance(result.exception, BusError)
    assert says in str(result.exception)


def test_a_file_that_is_wrong_is_listed_with_what_is_wrong(run: Callable[..., Result], tmp_path: Path) -> None:
    run("init")
    run("add", "desk")
    (tmp_path / "state" / "keys" / "authorised" / "desk.toml").chmod(0o666)
    result = run("list")
    assert result.exit_code == 1
    assert "desk is not admitted" in result.stderr
    assert "chmod go-w" in result.stderr


def test_a_key_that_may_mute_may_ask(run: Callable[..., Result], tmp_path: Path) -> None:
    run("init")
    alone = run("add", "duty", "--domain", "control")
    assert alone.exit_code == 2
    assert "control is asked for where replay is: add --domain replay" in alone.output
    assert run("add", "duty", "--domain", "control", "--domain", "replay").exit_code == 0
    clients, problems = load_authorised(tmp_path / "state" / "keys")
    assert ([client.domains for client in clients.values()], problems) == ([{"control", "replay"}], {})
