"""One HTTP request after the other, each with a limit on its time and on what is read of its answer."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import logging
import ssl
import threading
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urljoin

from streamcls import __version__
from streamcls.bus.delivery import Outcome
from streamcls_webhook.config import expanded, origin, server_url, shown_url, signing_key
from streamcls_webhook.template import PRESETS, render

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streamcls_webhook.config import WebhookConfig

__all__ = ["Sender", "signature"]

_TRANSIENT: Final = frozenset({408, 425, 429})
_SERVER_ERROR: Final = 500
_REDIRECTS: Final = frozenset({307, 308})
_MOST_REDIRECTS: Final = 3
_ANSWER_BYTES: Final = 65_536
"""Most that is read of an answer."""
_EXCERPT: Final = 200
"""Characters of a refusal's answer that stand in the reason."""
_END_S: Final = 30.0
_CLOSING: Final = "the subscriber is being closed"


def signature(key: bytes, timestamp: int, body: bytes) -> str:
    """Return the value of ``X-Streamcls-Signature``: HMAC-SHA256 of the Unix time in seconds, a full stop and the body."""
    digest = hmac.new(key, b"%d." % timestamp + body, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"


class Sender:
    """Posts events. ``send`` may be called on several threads at once.

    Requests run on an event loop with a thread of its own, which can end each of them at its time whatever the server does.

    Raises
    ------
    ImportError
        There is no httpx.
    ValueError
        The configuration refers to a secret or a certificate that is not to be had.
    """

    def __init__(self, config: WebhookConfig, wall_clock: Callable[[], float] = time.time) -> None:
        import httpx

        for name in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)  # they write whole URLs to the log, which may be secrets
        self._httpx = httpx
        self._config = config
        self._wall_clock = wall_clock
        self._url = server_url(config.url, "url")
        self._headers = {
            "Content-Type": PRESETS[config.preset][1],
            "User-Agent": f"streamcls/{__version__}",
            "Accept-Encoding": "identity",
        } | {name: expanded(value, f"headers.{name}") for name, value in config.headers.items()}
        self._key = signing_key(config)
        self._closing = False
        proxy = server_url(config.proxy, "proxy") if config.proxy else None
        self._secrets = _secrets(self._url, self._key, proxy, [expanded(v, n) for n, v in config.headers.items()])
        self._client = httpx.AsyncClient(
            timeout=config.timeout_s,
            verify=_trusted(config.ca_file),
            proxy=proxy,
            trust_env=False,
            follow_redirects=False,
            limits=httpx.Limits(max_connections=config.concurrency),
        )
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="webhook-requests", daemon=True)
        self._thread.start()

    def send(self, event: Mapping[str, Any]) -> Outcome:
        """Make one attempt. Nothing in the outcome's reason is a secret."""
        body = render(self._config.preset, self._config.template, event)
        if self._closing:
            return Outcome(_CLOSING)
        try:
            outcome = asyncio.run_coroutine_threadsafe(self._limited(str(event["id"]), body), self._loop).result()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again, and its text may hold secrets
            return Outcome(self._clean(f"{shown_url(self._url)}: {type(error).__name__}: {error}"))
        return Outcome(self._clean(outcome.reason), outcome.permanent, outcome.after_s)

    def abort(self) -> None:
        """End the requests that are under way."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._cancel)

    def close(self) -> None:
        """End everything."""
        if self._thread.is_alive():
            with contextlib.suppress(RuntimeError):
                asyncio.run_coroutine_threadsafe(self._client.aclose(), self._loop).result(_END_S)
                self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_END_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def _cancel(self) -> None:
        self._closing = True
        for task in self._tasks:
            task.cancel()

    async def _limited(self, identifier: str, body: bytes) -> Outcome:
        task = asyncio.current_task()
        if self._closing:
            return Outcome(_CLOSING)
        if task is not None:
            self._tasks.add(task)
        try:
            async with asyncio.timeout(self._config.timeout_s):
                return await self._post(identifier, body)
        except TimeoutError:
            return Outcome(f"{shown_url(self._url)}: no answer within {self._config.timeout_s:g} s")
        except asyncio.CancelledError:
            return Outcome(_CLOSING)
        finally:
            if task is not None:
                self._tasks.discard(task)

    async def _post(self, identifier: str, body: bytes) -> Outcome:
        headers = self._headers | {"Idempotency-Key": quote(identifier, safe="/:@+-._")}
        if self._key:
            headers["X-Streamcls-Signature"] = signature(self._key, int(self._wall_clock()), body)
        url = self._url
        for _ in range(_MOST_REDIRECTS + 1):
            async with self._client.stream("POST", url, content=body, headers=headers) as answer:
                if answer.is_success:
                    await self._read(answer)
                    return Outcome()
                target = self._target(url, answer)
                if not target:
                    return self._failure(answer, await self._read(answer))
            url = target
        return Outcome(f"{shown_url(self._url)}: it redirects more than {_MOST_REDIRECTS} times", permanent=True)

    def _target(self, url: str, answer: Any) -> str:
        """Return where a redirect is to be followed to; empty: nowhere."""
        if not self._config.follow_redirects or answer.status_code not in _REDIRECTS:
            return ""
        try:
            target = urljoin(url, answer.headers.get("Location", ""))
            return target if origin(target) == origin(self._url) else ""
        except ValueError:
            return ""

    def _failure(self, answer: Any, text: str) -> Outcome:
        status = answer.status_code
        reason = f"{shown_url(self._url)}: HTTP status {status}"
        if answer.is_redirect:
            return Outcome(f"{reason}: it redirects to {shown_url(answer.headers.get('Location', ''))}", permanent=True)
        reason += f": {self._clean(text)[:_EXCERPT]}" if text else ""
        if status not in _TRANSIENT and status < _SERVER_ERROR:
            return Outcome(reason, permanent=True)
        asked = _retry_after_s(answer.headers.get("Retry-After", ""), self._wall_clock())
        return Outcome(reason, after_s=min(asked, self._config.retry_after_max_s))

    async def _read(self, answer: Any) -> str:
        """Return the beginning of the answer. One that is broken off changes nothing: the status has decided."""
        data = b""
        with contextlib.suppress(self._httpx.HTTPError):
            async for part in answer.aiter_raw(4096):
                data += part
                if len(data) >= _ANSWER_BYTES:
                    break
        return data[:_ANSWER_BYTES].decode("utf-8", "replace").strip()

    def _clean(self, text: str) -> str:
        """Take secrets out of a text, and what could deceive a reader of the log."""
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return "".join(character if character.isprintable() else " " for character in text)


def _secrets(url: str, key: bytes, proxy: str | None, headers: list[str]) -> list[str]:
    """Return what may stand in no reason, longest first, so that none is cut into by another."""
    whole = url.partition("://")[2]
    path = whole[whole.find("/") :] if "/" in whole else ""
    parts = [url if len(path) > 1 else "", path, key.decode("utf-8", "replace"), proxy or "", *headers]
    user, at, _ = whole.partition("/")[0].rpartition("@")
    parts += [user, *user.split(":")] if at else []
    parts += [word for value in headers for word in value.split()]
    shortest = 4  # a shorter one is in every other word
    return sorted({part for part in parts if len(part) >= shortest}, key=len, reverse=True)


def _trusted(ca_file: str) -> ssl.SSLContext | bool:
    if not ca_file:
        return True
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"ca_file {ca_file!r}: cannot be used: {error.strerror or error}") from error


def _retry_after_s(value: str, now: float) -> float:
    """Return the seconds that a ``Retry-After`` asks for: a number of them, or a date; 0 where it says neither."""
    if value.strip().isdecimal():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return 0.0
    return (
        max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now) if isinstance(at, datetime) else 0.0
    )
