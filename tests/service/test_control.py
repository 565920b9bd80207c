"""The control socket, with clients that mean well and clients that do not. The server is real."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from typing import TYPE_CHECKING, Any

import pytest
from fakes import LONG_S

from streamcls.errors import StreamclsError
from streamcls.service.asking import NoDaemonError, ask_any, ask_daemon
from streamcls.service.control import ControlBusyError, ControlError, ControlServer
from streamcls.service.control_path import control_path, places, tidy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path


def echo(request: Mapping[str, Any]) -> dict[str, Any]:
    return {"heard": dict(request)}


def refuse(_: Mapping[str, Any]) -> dict[str, Any]:
    raise StreamclsError("not today; come again tomorrow")


def stumble(_: Mapping[str, Any]) -> dict[str, Any]:
    raise KeyError("nothing there")


def strange(_: Mapping[str, Any]) -> dict[str, Any]:
    return {"value": float("nan")}


def large(_: Mapping[str, Any]) -> dict[str, Any]:
    return {"text": "ä" * 2_000_000}


OPERATIONS = {"echo": echo, "refuse": refuse, "stumble": stumble, "strange": strange, "large": large}


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., ControlServer]]:
    with contextlib.ExitStack() as stack:

        def make(path: Path = tmp_path / "control.sock", patience_s: float = LONG_S) -> ControlServer:
            server = ControlServer(path, OPERATIONS, patience_s=patience_s)
            server.start()
            stack.callback(server.close)
            return server

        yield make


@contextlib.contextmanager
def connected(server: ControlServer) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(LONG_S)
        connection.connect(str(server.path))
        yield connection


def all_of(connection: socket.socket) -> bytes:
    """Return everything until the server closes, which it may do while something unread lies there."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(1 << 16):
            received += piece
    return received


def test_a_request_with_members_is_answered(serve: Any) -> None:
    server = serve()
    assert ask_daemon(server.path, "echo", name="ö", number=3) == {"heard": {"op": "echo", "name": "ö", "number": 3}}
    assert server.close()
    assert server.close(), "twice does no harm"
    assert list(server.path.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("op", "said"),
    [
        ("refuse", "not today; come again tomorrow"),
        ("stumble", "stumble raised KeyError: 'nothing there'"),
        ("strange", "strange raised ValueError"),
        ("what", r"unknown op 'what' \(known: echo, large, refuse, strange, stumble\)"),
    ],
)
def test_whoever_asks_is_told_what_failed_and_the_next_one_is_answered(serve: Any, op: str, said: str) -> None:
    server = serve()
    with pytest.raises(ControlError, match=said):
        ask_daemon(server.path, op)
    assert ask_daemon(server.path, "echo") == {"heard": {"op": "echo"}}


@pytest.mark.parametrize(
    "line", [b"\n", b"{\n", b"[]\n", b'{"op": 3}\n', b"\xff\xfe\n", b"[" * 60_000 + b"\n", b"null\n", b'"status"\n']
)
def test_what_is_no_request_is_refused_in_words(serve: Any, line: bytes) -> None:
    server = serve()
    with connected(server) as connection:
        connection.sendall(line)
        answer = json.loads(all_of(connection))
    assert answer["ok"] is False
    assert answer["error"].startswith(("the request is no JSON", "a request is an object with"))


def test_a_request_without_end_is_refused_once_it_is_too_long(serve: Any) -> None:
    server = serve()
    with connected(server) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while True:
                connection.sendall(b"x" * 4096)
        assert ask_daemon(server.path, "echo")


def test_a_slow_client_is_answered_piece_by_piece_and_keeps_nobody_waiting(serve: Any) -> None:
    server = serve()
    with connected(server) as slow:
        slow.sendall(b'{"op": ')
        assert ask_daemon(server.path, "echo") == {"heard": {"op": "echo"}}
        slow.sendall(b'"echo"}\n')
        assert json.loads(all_of(slow))["result"] == {"heard": {"op": "echo"}}


def test_a_client_that_says_nothing_is_let_go(serve: Any) -> None:
    server = serve(patience_s=0.05)
    with connected(server) as silent:
        assert all_of(silent) == b""


def test_a_client_that_takes_nothing_is_let_go(serve: Any) -> None:
    server = serve(patience_s=0.3)
    with connected(server) as greedy:
        greedy.sendall(b'{"op": "large"}\n')
        assert ask_daemon(server.path, "echo") == {"heard": {"op": "echo"}}
        for _ in range(200):  # the server gives up on its own, in its own time
            if not server._clients:
                break
            assert ask_daemon(server.path, "echo")
            threading.Event().wait(0.02)
        assert not server._clients
        assert len(all_of(greedy)) < 4_000_000


def test_a_large_answer_arrives_whole(serve: Any) -> None:
    assert ask_daemon(serve().path, "large") == {"text": "ä" * 2_000_000}


def test_a_crowd_does_not_keep_the_next_one_out(serve: Any) -> None:
    server = serve()
    with contextlib.ExitStack() as crowd:
        for _ in range(40):
            crowd.enter_context(connected(server))
        assert ask_daemon(server.path, "echo") == {"heard": {"op": "echo"}}
        assert len(server._clients) <= 16


def test_many_may_ask_at_once(serve: Any) -> None:
    server = serve()
    answers: list[Any] = []
    threads = [
        threading.Thread(target=lambda n=n: answers.append(ask_daemon(server.path, "echo", n=n))) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG_S)
    assert sorted(answer["heard"]["n"] for answer in answers) == list(range(8))


def test_only_the_daemons_user_may_ask(serve: Any) -> None:
    server = serve()
    assert server.path.stat().st_mode & 0o777 == 0o600
    assert server.path.with_name("control.sock.lock").stat().st_mode & 0o077 == 0


def test_the_socket_of_a_daemon_that_was_killed_is_replaced(serve: Any, tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    program = (
        "import sys, time; from pathlib import Path; from streamcls.service.control import ControlServer\n"
        "ControlServer(Path(sys.argv[1]), {}).start(); print('up', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        with pytest.raises(ControlBusyError, match=rf"another daemon \(process {child.pid}\).*state_dir of its own"):
            serve(path)
        child.kill()
    assert path.is_socket()
    with pytest.raises(NoDaemonError):
        ask_daemon(path, "echo")
    assert ask_daemon(serve(path).path, "echo")


def test_what_is_no_socket_stays(serve: Any, tmp_path: Path) -> None:
    (tmp_path / "control.sock").write_text("mine", encoding="utf-8")
    with pytest.raises(ControlError, match="is no socket; move it away"):
        serve()
    assert (tmp_path / "control.sock").read_text(encoding="utf-8") == "mine"


def test_a_folder_that_is_missing_is_named(serve: Any, tmp_path: Path) -> None:
    with pytest.raises(ControlError, match=r"missing/control\.sock cannot be made: No such file"):
        serve(tmp_path / "missing" / "control.sock")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return monkeypatch


def test_the_socket_is_in_the_state_folder(bare: Any, tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert control_path(state) == state / "control.sock"
    assert places(state, only=True) == [state / "control.sock"]


def test_the_socket_is_in_the_runtime_folder_and_found_from_the_state_folder(bare: Any, tmp_path: Path) -> None:
    state, run = tmp_path / "state", tmp_path / "run"
    bare.setenv("RUNTIME_DIRECTORY", f"{run}:/other")
    assert control_path(state) == run / "control.sock"
    bare.delenv("RUNTIME_DIRECTORY")
    assert places(state, only=True) == [run / "control.sock", state / "control.sock"]
    assert control_path(state) == state / "control.sock"  # started by hand now: the pointer has gone
    assert places(state, only=True) == [state / "control.sock"]


def test_a_state_folder_that_cannot_be_written_keeps_nobody_from_asking_why(bare: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    bare.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    assert control_path(tmp_path / "file" / "state") == tmp_path / "control.sock"


@pytest.fixture
def short() -> Iterator[str]:
    """A folder whose path leaves room for a socket's, wherever the tests keep their files."""
    with tempfile.TemporaryDirectory(prefix="streamcls-", dir="/tmp") as folder:
        yield folder


def test_a_path_too_long_for_a_socket_is_replaced_by_a_private_one_that_is_found(
    bare: Any, serve: Any, tmp_path: Path, short: str
) -> None:
    bare.setenv("XDG_RUNTIME_DIR", short)
    state = tmp_path / ("x" * 120)
    path = control_path(state)
    assert len(str(path)) <= 107
    assert path.parent.stat().st_mode & 0o077 == 0
    assert control_path(state) == path
    assert places(state)[0] == path
    server = serve(path)
    assert ask_any(places(state), "echo") == {"heard": {"op": "echo"}}
    server.close()
    tidy(state, path)
    assert not path.parent.exists()
    assert list(state.iterdir()) == []
    assert control_path(state) == path
    path.parent.chmod(0o755)
    with pytest.raises(ControlError, match="others may enter it"):
        control_path(state)
    bare.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("y" * 100)))
    with pytest.raises(ControlError, match="too long for a socket"):
        control_path(state)


def test_where_no_daemon_runs_it_is_said_where_was_looked(bare: Any, tmp_path: Path) -> None:
    with pytest.raises(NoDaemonError, match=r"no daemon runs here \(looked at .*control.sock.*--state-dir"):
        ask_any(places(tmp_path, only=True), "status")


def test_a_daemon_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as deaf:
        deaf.bind(str(path))
        deaf.listen(1)
        with pytest.raises(ControlError, match=r"does not answer within 0.05 s; its log may say why"):
            ask_daemon(path, "status", timeout_s=0.05)


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 400 Bad Request\r\n", b"[]\n", b'{"ok": true}\n', b'{"ok": 1, "result": 3}\n']
)
def test_an_answer_of_somebody_else_is_told_apart(tmp_path: Path, answer: bytes) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(str(path))
        other.listen(1)

        def reply() -> None:
            connection, _ = other.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(answer)

        thread = threading.Thread(target=reply)
        thread.start()
        with pytest.raises(ControlError, match="no streamcls daemon of this version"):
            ask_daemon(path, "status")
        thread.join(LONG_S)


def test_no_descriptor_is_left_open(serve: Any) -> None:
    server = serve()
    ask_daemon(server.path, "echo")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(50):
        ask_daemon(server.path, "echo")
    server.close()
    assert len(os.listdir("/proc/self/fd")) < before  # noqa: PTH208
