"""A local web server that webhooks are posted to; now and then it refuses one, as servers do."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["Posted"]

_REFUSES_EACH = 50
_BUSY = 503
_TAKEN = 204


class Posted:
    """Counts what was posted by its idempotency key.

    Attributes
    ----------
    alerts
        Id and phase of each alert that was taken.
    requests, refused, repeated
        So many.
    """

    def __init__(self) -> None:
        self.alerts: set[tuple[str, str]] = set()
        self.requests = self.refused = self.repeated = 0
        self._keys: set[str] = set()
        self._lock = threading.Lock()
        posted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = posted.take(self.headers["Idempotency-Key"], json.loads(body))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that goes while it is answered is no news."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where to post."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/alerts"

    def take(self, key: str, event: dict[str, Any]) -> int:
        """Take one event, and return the HTTP status."""
        with self._lock:
            self.requests += 1
            if self.requests % _REFUSES_EACH == 0:
                self.refused += 1
                return _BUSY
            self.repeated += key in self._keys
            self._keys.add(key)
            self.alerts.add((event["data"]["id"], event["data"]["phase"]))
            return _TAKEN

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
