"""Twenty configurations and machines that are broken as operators break them: each finding is good enough to mend it from.

Those of ``check`` are wrong wherever they are run; those of ``doctor`` are wrong here and now. What is wrong within a single
table stands in test_config_problems.py.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from streamcls.cli.main import cli
from streamcls.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEMO = '[[source]]\nname = "demo"\ntype = "demo"\n'
STREAM = '[[stream]]\nmatch = "*"\nmodels = []\npolicies = []\n'
FREE = '[bus]\npublish = ["tcp://127.0.0.1:*"]\nreplay = ["tcp://127.0.0.1:*"]\n'


@pytest.fixture
def state(tmp_path: Path) -> str:
    return f'[daemon]\nstate_dir = "{tmp_path / "state"}"\n'


@pytest.fixture
def check(tmp_path: Path) -> Callable[[str], str]:
    """Run ``streamcls check`` and return what it says of a configuration that it has to refuse."""

    def run(text: str) -> str:
        path = tmp_path / "my.toml"
        path.write_text(text, encoding="utf-8")
        result = CliRunner().invoke(cli, ["check", str(path)], standalone_mode=False)
        assert isinstance(result.exception, ConfigError), result.output
        return str(result.exception)

    return run


@pytest.fixture
def doctor(tmp_path: Path) -> Callable[..., list[str]]:
    """Run ``streamcls doctor`` and return its findings that are not ``ok``."""

    def run(text: str, status: int = 1) -> list[str]:
        path = tmp_path / "my.toml"
        path.write_text(text, encoding="utf-8")
        areas = ["configuration", "ports", "storage", "models"]
        command = ["doctor", str(path), "--json", "--brief", *(word for area in areas for word in ("--only", area))]
        result = CliRunner().invoke(cli, command, standalone_mode=False)
        assert result.exception is None, result.exception
        facts = json.loads(result.stdout)
        assert result.return_value == status, facts["findings"]
        return ["{level} {area}: {what} ({hint})".format(**finding) for finding in facts["findings"]]

    return run


CHECKED = {
    "publish and replay on one port": (
        '[bus]\npublish = ["tcp://127.0.0.1:5757"]\nreplay = ["tcp://127.0.0.1:5757"]\n',
        "bus.replay: tcp://127.0.0.1:5757 is taken by bus.publish[0] (give each a port or path of its own)",
    ),
    "two to publish on, and the second is where the past is answered for": (
        '[bus]\npublish = ["tcp://127.0.0.1:5757", "tcp://127.0.0.1:5758"]\n',
        "bus.replay (beside bus.publish[0], as none is given): tcp://127.0.0.1:5758 is taken by bus.publish[1]",
    ),
    "every address and one of them on one port": (
        '[bus]\ninsecure = true\npublish = ["tcp://0.0.0.0:5757", "tcp://127.0.0.1:5757"]\n',
        "bus.publish[1]: tcp://127.0.0.1:5757 is taken by bus.publish[0]",
    ),
    "one endpoint twice": (
        '[bus]\npublish = ["tcp://127.0.0.1:5757", "tcp://127.0.0.1:5757"]\n',
        "bus.publish[1]: tcp://127.0.0.1:5757 is listed twice (leave one out)",
    ),
    "nowhere to publish": (
        "[bus]\npublish = []\n",
        'bus.publish: the list is empty, so nobody can subscribe (name an endpoint, e.g. "tcp://127.0.0.1:5757")',
    ),
    "the bus and a source on one port": (
        '[[source]]\nname = "in"\ntype = "zmq"\nbind = "tcp://localhost:5757"\n[bus]\npublish = ["tcp://localhost:5757"]\n',
        'source "in": tcp://localhost:5757 is taken by bus.publish[0] (give each a port or path of its own)',
    ),
    "the bus and the metrics on one port": (
        '[[subscriber]]\ntype = "prometheus"\nport = 5758\n',
        'subscriber "prometheus": tcp://127.0.0.1:5758 is taken by bus.replay (beside bus.publish[0]',
    ),
    "a socket with too long a path": (
        f'[bus]\npublish = ["ipc:///{"x" * 120}"]\nreplay = []\n',
        "has 121 bytes; a socket's path has at most 107 (name a shorter one, e.g. under /run/streamcls)",
    ),
    "a state folder that is a file": (
        '[daemon]\nstate_dir = "FOLDER/file/state"\n',
        "daemon.state_dir: FOLDER/file is a file, expected a folder (name another folder, or move the file away)",
    ),
    "a folder of evidence that is a file": (
        '[evidence]\npath = "FOLDER/file"\n[[stream]]\nmatch = "*"\nmodels = []\npolicies = []\nevidence = true\n',
        "evidence.path: FOLDER/file is a file, expected a folder",
    ),
    "a folder of models that is not there": (
        '[models]\npath = ["FOLDER/models"]\n[[stream]]\nmodels = ["mine"]\n',
        "models.path[0]: 'FOLDER/models' is no folder (create it, or correct the path; it holds one folder for each bundle)",
    ),
    "two subscribers for one file": (
        '[[subscriber]]\ntype = "jsonl"\npath = "FOLDER/e.jsonl"\n[[subscriber]]\ntype = "jsonl"\npath = "FOLDER/./e.jsonl"\n',
        'subscriber[1] "jsonl-2": FOLDER/e.jsonl is written by subscriber[0] "jsonl" already (give each a file of its own)',
    ),
    "the audit log and a subscriber for one file": (
        '[audit]\nenabled = true\npath = "FOLDER/a"\n[[subscriber]]\ntype = "jsonl"\npath = "FOLDER/a"\n',
        'subscriber[0] "jsonl": FOLDER/a is written by audit.path already',
    ),
    "keys that nobody made": (
        '[security]\ncurve = true\nkeys = "FOLDER/keys"\n',
        "security.keys: FOLDER/keys",
    ),
    "more audio wanted before an alert than is kept": (
        "[evidence]\npre_s = 20\n",
        "evidence: pre_s is 20, expected at most capture_s (10)",
    ),
    "a time zone that is none": (
        '[[silence]]\nname = "night"\ntimezone = "Europe/Berln"\n',
        "silence[0] \"night\".timezone: 'Europe/Berln': unknown here, expected e.g. Europe/Berlin",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CHECKED)
def test_check_names(case: str, check: Callable[[str], str], tmp_path: Path) -> None:
    text, expected = CHECKED[case]
    (tmp_path / "file").touch()
    text = text.replace("FOLDER", str(tmp_path))
    text += "" if "[[source]]" in text else DEMO
    text += "" if "[[stream]]" in text else STREAM
    assert expected.replace("FOLDER", str(tmp_path)) in check(text)


def test_a_source_and_a_subscriber_that_share_nothing_are_in_order(tmp_path: Path) -> None:
    text = (
        '[[source]]\nname = "in"\ntype = "zmq"\nbind = ["tcp://127.0.0.1:5756", "tcp://127.0.0.1:*", "ipc:///run/in"]\n'
        '[bus]\npublish = ["tcp://127.0.0.1:*", "tcp://127.0.0.1:5757", "ipc:///run/out"]\nreplay = ["tcp://127.0.0.1:*"]\n'
        f'[[subscriber]]\ntype = "jsonl"\npath = "{tmp_path}/a"\n[[subscriber]]\ntype = "jsonl"\npath = "{tmp_path}/b"\n'
        '[[subscriber]]\ntype = "jsonl"\n[[subscriber]]\ntype = "jsonl"\n'
    )
    path = tmp_path / "my.toml"
    path.write_text(text + STREAM, encoding="utf-8")
    result = CliRunner().invoke(cli, ["check", str(path)], standalone_mode=False)
    assert result.exception is None, result.exception
    assert "in order" in result.stdout


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        yield int(other.getsockname()[1])


def test_doctor_names_whoever_has_a_port(doctor: Any, taken: int, state: str) -> None:
    found = doctor(f'{state}[bus]\npublish = ["tcp://127.0.0.1:{taken}"]\nreplay = []\n{DEMO}{STREAM}')
    name = Path("/proc/self/comm").read_text(encoding="ascii").strip()
    expected = (
        f"problem ports: bus.publish[0]: tcp://127.0.0.1:{taken} is taken by process {os.getpid()} ({name}) "
        "(stop it, or choose another port)"
    )
    assert expected in found


def test_doctor_names_an_address_of_another_machine(doctor: Any, state: str) -> None:
    found = doctor(f'{state}[bus]\ninsecure = true\npublish = ["tcp://192.0.2.7:5757"]\nreplay = []\n{DEMO}{STREAM}')
    assert any("tcp://192.0.2.7:5757: this machine has no such address (name an address of this" in f for f in found)


def test_doctor_names_an_ipc_folder_that_is_missing(doctor: Any, state: str, tmp_path: Path) -> None:
    found = doctor(f'{state}[bus]\npublish = ["ipc://{tmp_path}/run/bus"]\nreplay = []\n{DEMO}{STREAM}')
    expected = f"ipc://{tmp_path}/run/bus: the folder {tmp_path}/run does not exist (create it; under /run"
    assert any(expected in line for line in found)


def test_doctor_names_a_file_where_a_socket_belongs(doctor: Any, state: str, tmp_path: Path) -> None:
    (tmp_path / "bus").touch()
    found = doctor(f'{state}[bus]\npublish = ["ipc://{tmp_path}/bus"]\nreplay = []\n{DEMO}{STREAM}')
    assert any("a file stands there that is no socket (move it away)" in line for line in found)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_doctor_names_a_state_folder_that_may_not_be_written(doctor: Any, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
    found = doctor(f'[daemon]\nstate_dir = "{tmp_path}/closed/state"\n{FREE}{DEMO}{STREAM}')
    expected = f"{tmp_path}/closed cannot be written: user {os.geteuid()} has no permission (chown it"
    assert any(expected in line for line in found)


def test_doctor_names_a_folder_that_is_on_no_disk(doctor: Any) -> None:
    found = doctor(f'[daemon]\nstate_dir = "/proc/streamcls"\n{FREE}{DEMO}{STREAM}')
    (line,) = [line for line in found if "storage" in line]
    assert line.startswith("problem storage: daemon.state_dir: /proc/streamcls: ")
    assert "no disk" in line or "cannot be written" in line


def test_doctor_names_a_disk_that_is_smaller_than_what_may_be_kept(doctor: Any, tmp_path: Path) -> None:
    free_mb = shutil.disk_usage(tmp_path).free >> 20
    if free_mb > 900_000:
        pytest.skip("the disk here is larger than a journal can be")
    text = f'[daemon]\nstate_dir = "{tmp_path}/s"\n[journal]\nmax_mb = 1000000\n{FREE}{DEMO}{STREAM}'
    found = doctor(text, status=0)
    assert any("MiB free of" in line and "MiB more may be kept there (make room, or lower" in line for line in found)


def test_doctor_names_a_bundle_whose_model_is_another(doctor: Any, state: str, tmp_path: Path, root: Path) -> None:
    bundle = tmp_path / "models" / "mine"
    shutil.copytree(root / "models" / "genre-cnn", bundle)
    (bundle / "model.tflite").write_bytes(b"garbage")
    stream = '[[stream]]\nmodels = ["mine"]\npolicies = []\n'
    found = doctor(f'{state}[models]\npath = ["{tmp_path}/models"]\n{FREE}{DEMO}{stream}')
    assert any(line.startswith("problem models: mine: ") and "model.tflite" in line for line in found), found
    assert any(line.startswith("problem configuration: ") and "model.mine" in line for line in found), found


def test_doctor_warns_of_what_is_hardly_meant(doctor: Any, state: str) -> None:
    text = (
        f'{state}{FREE}{DEMO}{STREAM}[models]\npath = ["/no/models"]\n'
        '[[stream]]\nmatch = "radio-*"\n[policy.mine]\ntype = "genre"\n'
        '[[subscriber]]\ntype = "jsonl"\nkinds = ["moderation.alrt", "genre."]\n'
    )
    found = "\n".join(doctor(text, status=0))
    assert "stream[1].match: 'radio-*' never applies: stream[0] ('*') comes first (the first match wins" in found
    assert "models.path[0]: '/no/models' is no folder (create it" in found
    assert "policy.mine: no stream uses it" in found
    assert (
        "subscriber[0].kinds: no event of ours begins with 'moderation.alrt' (did you mean \"moderation.alert\"?)"
        in found
    )
    assert "genre." not in found.replace("moderation.alert", "")


def test_doctor_says_all_of_a_configuration_that_check_refuses_and_looks_at_the_rest(
    doctor: Any, taken: int, state: str
) -> None:
    found = doctor(f'{state}[bus]\npublish = ["tcp://127.0.0.1:{taken}"]\nreplay = []\nhwm = 3\n{DEMO}{STREAM}')
    assert any("problem configuration: " in line and "bus: unknown key 'hwm'" in line for line in found)
    assert any("is taken by process" in line for line in found)


def test_doctor_says_of_a_file_that_is_no_configuration_what_it_is(doctor: Any) -> None:
    (found,) = [line for line in doctor("[bus\n") if line.startswith("problem")]
    assert "problem configuration: " in found
    assert "is no valid TOML" in found


def test_a_report_shows_no_secret(state: str, tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    webhook = '[[subscriber]]\ntype = "webhook"\nurl = "https://example.org/hook/s3cret-path"\nsecret = "hunter2hunter2hunter2"\n'
    path.write_text(f"{state}{FREE}{DEMO}{STREAM}{webhook}", encoding="utf-8")
    result = CliRunner().invoke(cli, ["doctor", str(path)], standalone_mode=False)
    assert result.exception is None, result.exception
    assert "configuration in force, secrets masked" in result.stdout
    assert "hunter2" not in result.stdout
    assert "s3cret" not in result.stdout
