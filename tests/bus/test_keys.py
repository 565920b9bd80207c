"""Key files: whole, private, and never shown; one that is wrong costs its own client only."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from secured import make_client

from streamcls.bus.authorised import add_client, folder_state, load_authorised, remove_client
from streamcls.bus.keys import ClientKeys, create_server, load_client_keys, load_server, new_pair, write_client_keys
from streamcls.bus.permissions import Principal
from streamcls.errors import BusError

OTHER = "yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    previous = os.umask(0o002)
    try:
        create_server(tmp_path / "keys")
    finally:
        os.umask(previous)
    return tmp_path / "keys"


def entry(folder: Path, name: str, text: str) -> None:
    path = folder / "authorised" / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)


def test_what_is_made_is_private_whatever_the_umask(folder: Path) -> None:
    make_client(folder, "desk")
    for path in (folder, *folder.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path
    assert load_server(folder).secret not in (folder / "server.key").read_text(encoding="utf-8")
    assert sorted(path.name for path in folder.rglob("*")) == [
        "authorised",
        "desk.toml",
        "server.key",
        "server.key_secret",
    ]


def test_the_daemons_keys_are_never_made_over(folder: Path) -> None:
    before = load_server(folder)
    with pytest.raises(BusError, match="exists"):
        create_server(folder)
    assert load_server(folder) == before


def test_a_client_comes_back_as_it_was_added(folder: Path) -> None:
    pair = new_pair()
    client = Principal(
        "desk", pair.public, frozenset(["publish", "control"]), ("genre.*", "stream.status"), ("radio-1",)
    )
    add_client(folder, client)
    assert load_authorised(folder) == ({pair.public: client}, {})
    assert pair.secret not in (folder / "authorised" / "desk.toml").read_text(encoding="utf-8")
    remove_client(folder, "desk")
    assert load_authorised(folder) == ({}, {})
    with pytest.raises(BusError, match="no client 'desk'"):
        remove_client(folder, "desk")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_adds_belongs_to_the_daemons_user(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 4_242, 4_243)
    make_client(folder, "desk")
    facts = (folder / "authorised" / "desk.toml").stat()
    assert (facts.st_uid, facts.st_gid) == (4_242, 4_243)


def test_a_name_or_a_key_is_admitted_once(folder: Path) -> None:
    keys = make_client(folder, "desk")
    with pytest.raises(BusError, match="there is a client desk already"):
        make_client(folder, "desk")
    with pytest.raises(BusError, match="that of desk already"):
        add_client(folder, Principal("other", keys.public, frozenset(["publish"])))
    assert len(load_authorised(folder)[0]) == 1


@pytest.mark.parametrize("name", ["../server", "a/b", "", ".hidden", "x" * 200, "a\nb"])
def test_a_name_that_is_none_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(BusError, match="no name of a client"):
        make_client(folder, name)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "key"),
        ("key = 3\ndomains = ['publish']", "key"),
        (f"key = '{OTHER[:-1]}'\ndomains = ['publish']", "39 characters"),
        ("key = '" + "#" * 40 + "'\ndomains = ['publish']", "Z85"),
        (f"key = '{OTHER}'", "domains"),
        (f"key = '{OTHER}'\ndomains = []", "domains"),
        (f"key = '{OTHER}'\ndomains = ['publsh']", "domains"),
        (f"key = '{OTHER}'\ndomains = ['publish']\nkind = ['genre.*']", "kinds"),
        (f"key = '{OTHER}'\ndomains = ['publish']\nkinds = ['a/b']", "no kind"),
        (f"key = '{OTHER}'\ndomains = ['publish']\nstreams = ['a*b']", "no stream"),
        ("x = 1\nkey = )", "line 2"),
        ("key = " + "[" * 60_000, "no valid TOML"),
        ("#" * 70_000, "no key file"),
        ("\udcff", "UTF-8"),
    ],
)
def test_an_entry_that_is_wrong_is_named_and_costs_its_client_only(folder: Path, text: str, says: str) -> None:
    good = make_client(folder, "good")
    path = folder / "authorised" / "bad.toml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    path.chmod(0o600)
    clients, problems = load_authorised(folder)
    assert set(clients) == {good.public}
    assert list(problems) == ["bad"]
    assert str(path) in problems["bad"]
    assert says in problems["bad"]


def test_an_entry_with_a_key_that_is_taken_is_refused(folder: Path) -> None:
    keys = make_client(folder, "a")
    entry(folder, "b", f"key = '{keys.public}'\ndomains = ['publish', 'control']\n")
    clients, problems = load_authorised(folder)
    assert clients[keys.public].name == "a"
    assert "that of a" in problems["b"]


def test_what_others_can_write_admits_nobody(folder: Path) -> None:
    make_client(folder, "desk")
    (folder / "authorised" / "desk.toml").chmod(0o664)
    assert "can be written by others: chmod go-w" in load_authorised(folder)[1]["desk"]
    (folder / "authorised" / "desk.toml").chmod(0o644)
    assert len(load_authorised(folder)[0]) == 1
    (folder / "authorised").chmod(0o770)
    assert load_authorised(folder)[0] == {}
    with pytest.raises(BusError, match="can be written by others"):
        load_server(folder)


def test_a_folder_that_is_gone_admits_nobody(folder: Path) -> None:
    make_client(folder, "desk")
    (folder / "authorised").rename(folder / "elsewhere")
    clients, problems = load_authorised(folder)
    assert clients == {}
    assert "cannot be read" in problems["*"]


def test_a_pipe_in_the_folder_stops_nobody(folder: Path) -> None:
    os.mkfifo(folder / "authorised" / "pipe.toml", 0o600)
    assert "no key file" in load_authorised(folder)[1]["pipe"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_secret_that_others_can_read_is_refused(folder: Path, tmp_path: Path, mode: int) -> None:
    keys = make_client(folder, "desk")
    file = tmp_path / "desk.client.toml"
    write_client_keys(file, keys)
    assert load_client_keys(file) == keys
    for path in (file, folder / "server.key_secret"):
        path.chmod(mode)
    with pytest.raises(BusError, match=r"can be read by others: chmod go-rwx .*desk\.client\.toml"):
        load_client_keys(file)
    with pytest.raises(BusError, match="can be read by others"):
        load_server(folder)


@pytest.mark.parametrize(
    "text", ["", "metadata\n", 'curve\n    public-key = "x"\n    secret-key = "y"\n', "\0", "curve\n" * 90_000]
)
def test_damaged_keys_of_the_daemon_are_an_error(folder: Path, text: str) -> None:
    (folder / "server.key_secret").write_text(text, encoding="utf-8")
    with pytest.raises(BusError, match=r"server\.key_secret"):
        load_server(folder)


def test_keys_that_do_not_belong_together_are_an_error(folder: Path, tmp_path: Path) -> None:
    server, one, two = load_server(folder), new_pair(), new_pair()
    path = folder / "server.key_secret"
    path.write_text(path.read_text(encoding="utf-8").replace(server.public, one.public), encoding="utf-8")
    with pytest.raises(BusError, match="belong together"):
        load_server(folder)
    write_client_keys(tmp_path / "x.client.toml", ClientKeys(server.public, one.public, two.secret))
    with pytest.raises(BusError, match="do not belong together") as caught:
        load_client_keys(tmp_path / "x.client.toml")
    assert two.secret not in str(caught.value)


def test_no_error_repeats_a_secret(tmp_path: Path) -> None:
    pair, server = new_pair(), new_pair()
    good = f"server = '{server.public}'\npublic = '{pair.public}'\nsecret = '{pair.secret}'\n"
    path = tmp_path / "x.client.toml"
    for text in (
        good.replace(pair.secret, pair.secret[:-1]),
        good.replace("secret", "secert"),
        good.replace("public =", "public = ["),
        good.replace(f"'{pair.secret}'", f"['{pair.secret}']"),
        good.replace(f"'{pair.secret}'", pair.secret),
        good.replace(f"server = '{server.public}'", f"server = '{pair.secret}x'"),
        good + good,
        good + "more = 1",
    ):
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        with pytest.raises(BusError, match=r"x\.client\.toml") as caught:
            load_client_keys(path)
        assert pair.secret[:20] not in str(caught.value), text
        assert caught.value.__cause__ is None


def test_a_clients_file_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "x.client.toml").write_text("mine", encoding="utf-8")
    with pytest.raises(BusError, match="exists"):
        write_client_keys(tmp_path / "x.client.toml", ClientKeys("a", "b", "c"))
    assert [path.name for path in tmp_path.iterdir()] == ["x.client.toml"]


def test_the_state_of_a_folder_tells_of_every_change(folder: Path) -> None:
    states = [folder_state(folder)]
    make_client(folder, "desk")
    states.append(folder_state(folder))
    (folder / "authorised" / "desk.toml").chmod(0o664)
    states.append(folder_state(folder))
    entry(folder, "desk", "key = 1")
    states.append(folder_state(folder))
    remove_client(folder, "desk")
    states.append(folder_state(folder))
    assert len(set(states)) == 4
    assert states[0] == states[-1]
    (folder / "authorised" / ".desk.swp").touch()
    assert folder_state(folder) == states[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_file_of_another_user_is_refused() -> None:
    with tempfile.TemporaryDirectory() as place:  # pytest's own folders are closed to others
        Path(place).chmod(0o711)
        folder = Path(place) / "keys"
        create_server(folder)
        make_client(folder, "mine")
        make_client(folder, "planted")
        for path in (folder, *folder.rglob("*")):
            os.chown(path, 4_242, -1)
        os.chown(folder / "authorised" / "planted.toml", 4_343, -1)
        (folder / "authorised" / "planted.toml").chmod(0o644)
        os.seteuid(4_242)
        try:
            clients, problems = load_authorised(folder)
        finally:
            os.seteuid(0)
    assert [client.name for client in clients.values()] == ["mine"]
    assert "belongs to another user (number 4343)" in problems["planted"]
