"""A web server in a thread, which answers as it is told to and keeps what it was sent."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Answer", "Receiver", "Request", "receiving"]

PATIENCE_S = 30.0


@dataclass
class Request:
    """What was sent."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        return json.loads(self.body)


@dataclass
class Answer:
    """What to say. ``cut``: end the connection after so many bytes of the answer. ``after``: wait for it first."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int | None = None
    after: threading.Event | None = None

    def __bytes__(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} said"]
        headers = {"Content-Length": str(len(self.body)), "Connection": "close"} | self.headers
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + self.body


class Receiver:
    """The server. ``answer`` is called with each request on the request's own thread."""

    def __init__(self, answer: Callable[[Request], Answer], port: int = 0) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.changed = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                request = Request(self.path, dict(self.headers.items()), body)
                with receiver.changed:
                    receiver.requests.append(request)
                    receiver.changed.notify_all()
                answer = receiver.answer(request)
                if answer.after is not None:
                    answer.after.wait(PATIENCE_S)
                self.close_connection = True
                with contextlib.suppress(OSError):
                    self.connection.sendall(bytes(answer)[: answer.cut])
                    self.connection.shutdown(socket.SHUT_RDWR)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                """A client that was killed is what some tests are about."""

        self.server = Server(("127.0.0.1", port), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    @property
    def ids(self) -> list[str]:
        """The keys of the requests so far, in the order in which they came."""
        with self.changed:
            return [request.headers["Idempotency-Key"] for request in self.requests]

    def wait_for(self, condition: Callable[[list[Request]], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: condition(self.requests), PATIENCE_S), f"{len(self.requests)} requests"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@contextlib.contextmanager
def receiving(answer: Callable[[Request], Answer] = lambda _: Answer()) -> Iterator[Receiver]:
    receiver = Receiver(answer)
    try:
        yield receiver
    finally:
        receiver.close()
