"""An HTTP server for two small pages that nobody can hold up: few connections, little time, short requests."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any, ClassVar, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Handler", "Pages", "Server"]

_log = logging.getLogger("streamcls.prometheus")

_MOST_CONNECTIONS: Final = 16
_LONGEST_REQUEST: Final = 16 * 1024
_LOOK_S: Final = 0.1
_JSON: Final = "application/json; charset=utf-8"


class Pages:
    """What is served.

    Parameters
    ----------
    metrics
        Takes the header ``Accept``; returns the content's type and the content.
    ailments
        Returns what is wrong.
    """

    def __init__(self, metrics: Callable[[str], tuple[str, bytes]], ailments: Callable[[], list[str]]) -> None:
        self._metrics = metrics
        self._ailments = ailments

    def answer(self, path: str, accept: str) -> tuple[HTTPStatus, str, bytes]:
        """Return the answer to a request."""
        if path == "/metrics":
            return HTTPStatus.OK, *self._metrics(accept)
        if path in {"/healthz", "/health"}:
            reasons = self._ailments()
            if not reasons:
                return HTTPStatus.OK, _JSON, b'{"status":"ok"}\n'
            body = json.dumps({"status": "unavailable", "reasons": reasons}, ensure_ascii=False)
            return HTTPStatus.SERVICE_UNAVAILABLE, _JSON, body.encode("utf-8", "backslashreplace") + b"\n"
        if path == "/":
            return HTTPStatus.OK, "text/plain; charset=utf-8", b"streamcls: /metrics and /healthz\n"
        return HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", b"there are /metrics and /healthz\n"


class _Short:
    """The beginning of what a connection sends; after that it has ended."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._left = _LONGEST_REQUEST

    def readline(self, limit: int = -1) -> bytes:
        """Return a line, or as much of it as may still come."""
        line: bytes = self._file.readline(self._left if limit < 0 else min(limit, self._left))
        self._left -= len(line)
        return line

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Handler(BaseHTTPRequestHandler):
    """Answers one request; the connection ends with it, or where nothing comes for ``timeout`` seconds."""

    server: Server
    timeout = 5.0
    server_version = "streamcls"
    sys_version = ""

    def setup(self) -> None:
        """Limit what is read."""
        super().setup()
        self.rfile: Any = _Short(self.rfile)

    def do_GET(self) -> None:
        """Send a page."""
        self._answer(body=True)

    def do_HEAD(self) -> None:
        """Send what a page begins with."""
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        status, content_type, content = self.server.pages.answer(path, self.headers.get("Accept", ""))
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's naming
        """Say nothing of requests unless asked to."""
        _log.debug("%s: " + format, self.client_address[0], *args)


class Server(ThreadingHTTPServer):
    """Serves from a thread of its own until closed.

    Attributes
    ----------
    longest_s
        A connection is cut off after so many seconds, however busy it is.

    Raises
    ------
    OSError
        The address is taken or not this machine's.
    """

    longest_s: ClassVar[float] = 10.0
    daemon_threads = True
    block_on_close = False
    request_queue_size = _MOST_CONNECTIONS

    def __init__(self, host: str, port: int, pages: Pages) -> None:
        self.pages = pages
        self._open: dict[socket.socket, float] = {}
        self._changing = threading.Lock()
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), Handler)
        self._thread = threading.Thread(
            target=self.serve_forever, args=(_LOOK_S,), name="prometheus-server", daemon=True
        )
        self._thread.start()

    def server_bind(self) -> None:
        """Bind without the library's question to the name service for this machine's name."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def close(self) -> None:
        """Stop listening and cut off whoever is still connected."""
        self.shutdown()
        self.server_close()
        self._cut_off(0.0)

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002 - the library's signature
        """Take a connection only where there are not too many."""
        with self._changing:
            if len(self._open) >= _MOST_CONNECTIONS:
                return False
            self._open[request] = time.monotonic()
        return True

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection and close it."""
        with self._changing:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Cut off those that take too long."""
        self._cut_off(self.longest_s)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - as above
        """Note that a connection broke; the library would print it."""
        _log.debug("%s: the connection broke", client_address[0], exc_info=True)

    def _cut_off(self, older_s: float) -> None:
        now = time.monotonic()
        with self._changing:
            late = [connection for connection, since in self._open.items() if now - since >= older_s]
            for connection in late:
                try:
                    connection.shutdown(socket.SHUT_RDWR)  # its thread notices, and closes it
                except OSError:
                    _log.debug("a connection was closed by its other end already")
