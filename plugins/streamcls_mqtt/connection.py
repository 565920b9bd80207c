"""The connection to the broker: what is retained is said again after each reconnect, and publishing ends with the acknowledgement."""

from __future__ import annotations

import logging
import ssl
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from streamcls import SubscriberBusyError
from streamcls_mqtt.config import file_of
from streamcls_mqtt.topics import Message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paho.mqtt.client import Client, MQTTMessageInfo

    from streamcls_mqtt.config import MqttConfig

__all__ = ["Connection"]

_log = logging.getLogger("streamcls.mqtt")

_FIRST_PAUSE_S: Final = 1
_LONGEST_PAUSE_S: Final = 60
_CONNECT_S: Final = 5.0
_FAREWELL_S: Final = 0.4
"""A daemon that stops waits a second for a subscriber."""
_MOST_QUEUED: Final = 50_000
"""Messages that wait for acknowledgement; numbers of messages are 16 bits wide."""


class Connection:
    """A client with a last will. Used by one thread; paho's own thread reconnects with back-off.

    Parameters
    ----------
    config
        See :class:`MqttConfig`.
    client_id
        Stable, so that a restarted client takes the place of one that the broker still holds for alive.
    availability
        Topic that says ``online``, and ``offline`` when the client is gone, however it went.

    Raises
    ------
    SubscriberBusyError
        The password's file or the certificates cannot be read.
    """

    def __init__(self, config: MqttConfig, client_id: str, availability: str) -> None:
        self._config = config
        self._where = f"MQTT broker {config.host}:{config.real_port}"
        self._availability = availability
        self._changed = threading.Condition()
        self._connected = False
        self._refused = ""
        self._reason = "it does not answer"
        self._retained: dict[str, bytes] = {}
        self._retaining = (
            threading.Lock()
        )  # never taken by paho's callback of acknowledgements, which holds locks that publish needs
        self._repeating: dict[str, MQTTMessageInfo] = {}
        self._client = self._made(client_id)
        self._client.connect_async(config.host, config.real_port, config.keepalive_s)
        self._client.loop_start()

    def publish(self, messages: Sequence[Message]) -> list[MQTTMessageInfo]:
        """Hand messages over and note what is retained; :meth:`settle` waits for them.

        Raises
        ------
        SubscriberBusyError
            There is no connection within ``timeout_s``, or none will be for a reason that the broker gave. Nothing was handed over,
            but what is retained is remembered for when there is one.
        """
        with self._retaining:
            for message in messages:
                if message.retain:
                    self._retained.pop(message.topic, None)
                    if message.payload:
                        self._retained[message.topic] = message.payload
        self._wait_connected()
        with self._retaining:
            return [self._handed_over(message) for message in messages]

    def settle(self, infos: Sequence[MQTTMessageInfo]) -> None:
        """Wait until the broker has acknowledged messages.

        Raises
        ------
        SubscriberBusyError
            It did not within ``timeout_s``. The messages are sent again when it is back, unless this process ends before.
        """
        deadline = time.monotonic() + self._config.timeout_s
        for info in infos:
            try:
                info.wait_for_publish(max(0.001, deadline - time.monotonic()))
                done = info.is_published()
            except (RuntimeError, ValueError) as error:
                raise SubscriberBusyError(f"{self._where}: {error}") from error
            if not done:
                raise SubscriberBusyError(
                    f"{self._where} did not acknowledge a message within {self._config.timeout_s:g} s; is it overloaded?"
                )

    def close(self) -> None:
        """Say ``offline`` and disconnect; does not wait long for a broker that does not answer."""
        if self._connected:
            info = self._handed_over(Message(self._availability, b"offline", retain=True))
            try:
                info.wait_for_publish(_FAREWELL_S)
            except (RuntimeError, ValueError):
                _log.debug("%s: the connection was lost meanwhile; it announces the last will", self._where)
        # loop_stop would wait for a broker that is frozen; after disconnect the thread ends by itself.
        self._client.disconnect()
        with self._changed:
            self._changed.wait_for(lambda: not self._connected, _FAREWELL_S)

    def _made(self, client_id: str) -> Client:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        config = self._config
        client = Client(CallbackAPIVersion.VERSION2, client_id=client_id)
        client.connect_timeout = _CONNECT_S
        client.reconnect_delay_set(_FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        client.max_queued_messages_set(_MOST_QUEUED)
        client.will_set(self._availability, b"offline", qos=max(1, config.qos), retain=True)
        try:
            if config.username:
                client.username_pw_set(config.username, self._password() or None)
            if config.tls is not None:
                ca, cert, key = (
                    str(file_of(path)) if path else None for path in (config.tls.ca, config.tls.cert, config.tls.key)
                )
                client.tls_set(ca, cert, key)
        except (OSError, ValueError, ssl.SSLError) as error:
            raise SubscriberBusyError(f"{self._where}: password_file or tls cannot be used: {error}") from error
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        return client

    def _password(self) -> str:
        if self._config.password_file:
            return file_of(self._config.password_file).read_text(encoding="utf-8").rstrip("\r\n")
        return self._config.password.get_secret_value()

    def _handed_over(self, message: Message) -> MQTTMessageInfo:
        return self._client.publish(message.topic, message.payload, qos=self._config.qos, retain=message.retain)

    def _wait_connected(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._connected or self._refused, self._config.timeout_s)
            if not self._connected:
                raise SubscriberBusyError(f"{self._where} cannot be used: {self._refused or self._reason}")

    def _on_connect(self, _client: Client, _userdata: Any, _flags: Any, reason_code: Any, _properties: Any) -> None:
        if reason_code.is_failure:
            with self._changed:
                if not self._refused:
                    _log.error("%s refuses the connection: %s", self._where, reason_code)
                self._refused = f"{reason_code}; correct username and password or password_file"
                self._changed.notify_all()
            return
        _log.info("%s: connected", self._where)
        with self._retaining:
            self._repeat()
        with self._changed:
            self._connected, self._refused = True, ""
            self._changed.notify_all()

    def _repeat(self) -> None:
        """Say again all that is retained: the broker may have been restarted without what it knew."""
        self._handed_over(Message(self._availability, b"online", retain=True))
        # What was repeated before and is not acknowledged paho itself sends again, before anything newer of that topic.
        waiting = {topic: info for topic, info in self._repeating.items() if not _is_settled(info)}
        for topic, payload in self._retained.items():
            if topic not in waiting:
                waiting[topic] = self._handed_over(Message(topic, payload, retain=True))
        self._repeating = waiting

    def _on_connect_fail(self, _client: Client, _userdata: Any) -> None:
        error = sys.exc_info()[1]  # paho calls this where it has caught what went wrong
        with self._changed:
            self._reason = str(error) if error else "no connection"

    def _on_disconnect(self, _client: Client, _userdata: Any, _flags: Any, reason_code: Any, _properties: Any) -> None:
        with self._changed:
            if self._connected and reason_code.is_failure:
                _log.warning("%s: the connection is lost (%s); connecting again", self._where, reason_code)
                self._reason = f"the connection was lost ({reason_code})"
            self._connected = False
            self._changed.notify_all()


def _is_settled(info: MQTTMessageInfo) -> bool:
    try:
        return info.is_published()
    except (RuntimeError, ValueError):
        return True
