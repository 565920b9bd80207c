"""Publishes events and states over MQTT."""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

from streamcls import StreamclsError, SubscriberBusyError
from streamcls_mqtt.config import MqttConfig, config_problems
from streamcls_mqtt.connection import Connection
from streamcls_mqtt.discovery import Discovery
from streamcls_mqtt.states import States
from streamcls_mqtt.topics import Message, Topics, level

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paho.mqtt.client import MQTTMessageInfo

__all__ = ["MqttSubscriber"]


class _Session:
    """What belongs to one daemon: the connection, whose last will names it, and what is known of its streams."""

    def __init__(self, config: MqttConfig, source: str) -> None:
        daemon = source.removeprefix("/streamcls/")
        self.source = source
        self.topics = Topics(config.prefix, daemon)
        discovery = None
        if config.discovery:
            discovery = Discovery(config.discovery_prefix, config.device_class, self.topics)
        self.states = States(self.topics, discovery, skip_muted=config.muted == "skip", keep_ended=config.keep_ended)
        client_id = config.client_id or f"{config.prefix.replace('/', '-')}-{level(daemon)}"
        self.connection = Connection(config, client_id, self.topics.availability)
        self.pending: tuple[str, list[Message], list[MQTTMessageInfo] | None] | None = None


class MqttSubscriber:
    """Returns from ``handle`` when the broker has acknowledged everything, and raises where it has not."""

    name: ClassVar[str] = "mqtt"
    Config = MqttConfig

    def __init__(self, config: MqttConfig) -> None:
        if find_spec("paho") is None:
            raise StreamclsError("paho-mqtt is not installed: pip install 'streamcls[mqtt]'")
        self._config = config
        self._session: _Session | None = None

    @staticmethod
    def preflight(config: MqttConfig) -> list[str]:
        """Check all that can be told without the broker."""
        return config_problems(config)

    def handle(self, event: Mapping[str, Any]) -> None:
        """Publish one event and what it changes.

        Raises
        ------
        SubscriberBusyError
            The broker did not acknowledge it in time, or cannot be reached. Handed over once more, the event is not published
            twice while the first copy still waits.
        """
        session = self._session_of(str(event["source"]))
        identifier = str(event["id"])
        if session.pending is None or session.pending[0] != identifier:
            session.pending = (identifier, self._messages(session, event), None)
        _, messages, infos = session.pending
        if infos is None:
            infos = session.connection.publish(messages) if messages else []
            session.pending = (identifier, messages, infos)
        try:
            session.connection.settle(infos)
        except SubscriberBusyError:
            if any(info.rc > 0 for info in infos):  # not accepted: the next attempt hands it over anew
                session.pending = (identifier, messages, None)
            raise
        session.pending = None

    def close(self) -> None:
        """Say that nobody is there any more, and disconnect."""
        session, self._session = self._session, None
        if session is not None:
            session.connection.close()

    def _session_of(self, source: str) -> _Session:
        """Return the session of a daemon; where the daemon has got another name, the old one is offline."""
        if self._session is not None and self._session.source != source:
            self.close()
        if self._session is None:
            self._session = _Session(self._config, source)
        return self._session

    def _messages(self, session: _Session, event: Mapping[str, Any]) -> list[Message]:
        muted = session.states.is_muted(event)
        messages = session.states.take(event)
        if muted or not self._passed_on(str(event["type"])):
            return messages
        topic = session.topics.event(str(event["subject"]), str(event["type"]).removeprefix("streamcls."))
        return [*messages, Message(topic, json.dumps(event).encode(), retain=False)]

    def _passed_on(self, event_type: str) -> bool:
        if event_type.endswith(".window"):
            return self._config.events and self._config.window_events
        if event_type == "streamcls.daemon.heartbeat":
            return self._config.events and self._config.heartbeats
        return self._config.events
