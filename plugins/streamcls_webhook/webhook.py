"""The subscriber: chooses events, keeps them in its outbox and has them delivered."""

from __future__ import annotations

import importlib.util
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from streamcls import StreamclsError
from streamcls.bus.deadletters import DeadLetters
from streamcls.bus.delivery import Delivery, Patience
from streamcls.bus.outbox import Outbox
from streamcls_webhook.config import WebhookConfig, expanded, server_url, signing_key, state_folder
from streamcls_webhook.template import check

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streamcls.bus.delivery import Timing

__all__ = ["WebhookSubscriber"]

_MISSING = "the subscriber webhook needs httpx: pip install 'streamcls[webhook]'"


class WebhookSubscriber:
    """Posts events to a web server, each at least once and in the order of its stream.

    ``timing`` replaces the clock of the pauses between attempts, for tests.
    """

    name: ClassVar[str] = "webhook"
    Config = WebhookConfig

    def __init__(self, config: WebhookConfig, timing: Timing | None = None) -> None:
        try:
            from streamcls_webhook.sender import Sender

            self._sender = Sender(config)
        except ImportError as error:
            raise StreamclsError(_MISSING) from error
        except ValueError as error:
            raise StreamclsError(str(error)) from error
        self._config = config
        folder = _spool(config)
        try:
            outbox = Outbox(
                folder, sync=config.sync, max_events=config.max_waiting, max_bytes=config.max_waiting_mb << 20
            )
        except StreamclsError:
            self._sender.close()
            raise
        dead_letters = Path(config.dead_letters).expanduser() if config.dead_letters else folder / "dead-letters.jsonl"
        self._delivery = Delivery(
            self.name,
            self._sender.send,
            outbox,
            DeadLetters(dead_letters, config.dead_letters_mb << 20),
            workers=config.concurrency,
            patience=Patience(config.retry_s, config.retry_max_s, give_up_s=config.give_up_s),
            per_minute=config.per_minute,
            timing=timing,
        )
        self.counters = self._delivery.counters

    @staticmethod
    def preflight(config: WebhookConfig) -> list[str]:
        """Check that httpx is there, that secrets can be had, and that the template names members of events."""
        problems = [] if importlib.util.find_spec("httpx") else [_MISSING]
        wanted: list[Callable[[], object]] = [lambda: server_url(config.url, "url"), lambda: signing_key(config)]
        if config.proxy is not None:
            wanted.append(partial(server_url, config.proxy, "proxy"))
        wanted += [partial(expanded, value, f"headers.{name}") for name, value in config.headers.items()]
        for get in wanted:
            try:
                get()
            except ValueError as error:
                problems.append(str(error))
        if config.ca_file and not os.access(config.ca_file, os.R_OK):
            problems.append(f"ca_file {config.ca_file!r}: cannot be read")
        return problems + check(config.template)

    @property
    def waiting(self) -> int:
        """Events that are accepted and not delivered."""
        return self._delivery.waiting

    @property
    def waited_s(self) -> float:
        """Seconds for which the oldest of them has waited."""
        return self._delivery.waited_s

    @property
    def trouble(self) -> str:
        """Why the last attempt failed; empty once one has succeeded."""
        return self._delivery.trouble

    def handle(self, event: Mapping[str, Any]) -> None:
        """Accept an event where it is wanted. Once this returns it is on disk; SubscriberBusyError while too much waits."""
        if self._is_wanted(event):
            self._delivery.put(event)

    def close(self) -> None:
        """Deliver what can be delivered at once; the rest waits on disk for the next start."""
        self._delivery.close(self._config.close_s, self._sender.abort)
        self._sender.close()

    def _is_wanted(self, event: Mapping[str, Any]) -> bool:
        kind = str(event["type"])
        if not self._config.windows and (kind.endswith(".window") or kind == "streamcls.daemon.heartbeat"):
            return False
        data = event.get("data")
        if not isinstance(data, dict):
            return True
        if self._config.muted == "skip" and data.get("muted"):
            return False
        phase = data.get("phase")
        return phase not in {"opened", "updated", "closed"} or phase in self._config.phases


def _spool(config: WebhookConfig) -> Path:
    return Path(config.spool).expanduser() if config.spool else state_folder("webhook")
