"""What ``doctor`` says of devices that a configuration names, of who may read it, and of a machine in need: word for word."""

from __future__ import annotations

import json
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from pydantic import SecretStr

from streamcls import ComponentConfig
from streamcls.cli.main import cli
from streamcls.config.conflicts import Bound
from streamcls.service.doctor import Finding, device_findings, port_findings, secret_findings
from streamcls.service.doctor.storage import room_finding

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20
DEVICES = [
    {"number": 0, "name": "HDA Intel PCH: ALC257", "host_api": "ALSA", "channels": 2, "sample_rate": 44100, "default": True},
    {"number": 3, "name": "USB Audio Left", "host_api": "ALSA", "channels": 1, "sample_rate": 48000, "default": False},
    {"number": 4, "name": "USB Audio Right", "host_api": "ALSA", "channels": 1, "sample_rate": 48000, "default": False},
]  # fmt: skip


def problems(wanted: Any) -> list[str]:
    command = [sys.executable, "-c", f"print({json.dumps(json.dumps(DEVICES))})"]
    found = device_findings(needed=True, wanted={"studio": wanted}, command=command)
    return [str(finding) for finding in found if finding.level != "ok"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (0, []),
        ("alc257", []),
        ("usb audio left", []),
        (
            "USB Audoi Left",
            [
                (
                    "problem  devices: source \"studio\": no device here fits 'USB Audoi Left' "
                    '(plug it in, or correct device; did you mean "USB Audio Left"?)'
                )
            ],
        ),
        (
            7,
            [
                (
                    'problem  devices: source "studio": no device here fits 7 '
                    "(plug it in, or correct device; known: HDA Intel PCH: ALC257, USB Audio Left, USB Audio Right)"
                )
            ],
        ),
        (
            "usb",
            [
                (
                    'problem  devices: source "studio": \'usb\' may be any of 3 "USB Audio Left", 4 "USB Audio Right" '
                    "(give more of its name, or its number)"
                )
            ],
        ),
    ],
)
def test_a_device_that_a_source_names(wanted: Any, expected: list[str]) -> None:
    assert problems(wanted) == expected


class Login(ComponentConfig):
    user: str = ""
    password: SecretStr = SecretStr("")


class Hook(ComponentConfig):
    url: str = ""
    token: SecretStr | None = None
    headers: dict[str, SecretStr] = {}  # noqa: RUF012 - pydantic copies it
    login: Login = Login()


@pytest.fixture
def open_file() -> Iterator[Path]:
    """Give a file that everybody may read, in a folder that everybody may enter."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    path = folder / "my.toml"
    path.touch()
    path.chmod(0o644)
    yield path
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("config", "key"),
    [
        (Hook(token=SecretStr("hunter2")), "token"),
        (Hook(headers={"Authorization": SecretStr("Bearer hunter2")}), "headers"),
        (Hook(login=Login(user="me", password=SecretStr("hunter2"))), "login"),
    ],
)
def test_secrets_that_everybody_may_read(open_file: Path, config: Hook, key: str) -> None:
    (finding,) = secret_findings(open_file, [('subscriber[0] "hook"', config)])
    assert str(finding) == (
        f"warning  configuration: {open_file}: everybody on this machine may read it, and it holds secrets: "
        f'subscriber[0] "hook".{key} (chgrp streamcls {open_file}; chmod 640 {open_file}: then root and the daemon\'s group alone may)'
    )
    open_file.chmod(0o640)
    assert not list(secret_findings(open_file, [("x", config)]))
    open_file.chmod(0o644)
    open_file.parent.chmod(0o750)
    assert not list(secret_findings(open_file, [("x", config)])), "nobody else gets that far"


@pytest.mark.parametrize(
    "config", [Hook(url="x"), Hook(token=SecretStr("${TOKEN}")), Hook(token=SecretStr("")), Hook(token=None)]
)
def test_what_is_no_secret_or_kept_elsewhere_may_be_read(open_file: Path, config: Hook) -> None:
    assert not list(secret_findings(open_file, [("x", config)]))


def test_the_command_tells_of_them_and_shows_none(open_file: Path, tmp_path: Path) -> None:
    text = f'[daemon]\nstate_dir = "{tmp_path}"\n[[source]]\nname = "demo"\ntype = "demo"\n[[subscriber]]\n'
    open_file.write_text(f'{text}type = "webhook"\nurl = "https://example.org/s3cret"\n', encoding="utf-8")
    result = CliRunner().invoke(cli, ["doctor", str(open_file), "--only", "configuration"], standalone_mode=False)
    assert (result.exception, result.return_value) == (None, 0)
    assert 'holds secrets: subscriber[0] "webhook".url (chgrp' in result.stdout
    assert "s3cret" not in result.stdout


@pytest.mark.parametrize(
    ("finding", "expected"),
    [
        (
            room_finding("daemon.state_dir: /var/lib/streamcls", 400 * MIB, 10_000 * MIB),
            (
                "warning  storage: daemon.state_dir: /var/lib/streamcls: 400 MiB free of 10000 MiB: the disk is nearly full "
                "(make room, or lower [journal] max_mb and [evidence] max_mb, or name a folder on another disk)"
            ),
        ),
        (
            room_finding("daemon.state_dir: /var/lib/streamcls", 9 * MIB, 10_000 * MIB),
            (
                "problem  storage: daemon.state_dir: /var/lib/streamcls: 9 MiB free of 10000 MiB: the disk is full "
                "(make room, or lower [journal] max_mb and [evidence] max_mb, or name a folder on another disk)"
            ),
        ),
    ],
    ids=str,
)
def test_a_disk_with_little_room(finding: Finding, expected: str) -> None:
    assert str(finding) == expected


def test_a_port_that_somebody_else_has() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        (finding,) = port_findings([Bound("bus.publish[0]", f"tcp://127.0.0.1:{port}")])
    assert finding.level == "problem"
    assert finding.what.startswith(f"bus.publish[0]: tcp://127.0.0.1:{port} is taken by process ")
    assert finding.hint == "stop it, or choose another port"
