"""What Home Assistant has to know to find the entities: https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from streamcls_mqtt.topics import Message, slug

if TYPE_CHECKING:
    from streamcls_mqtt.topics import Topics

__all__ = ["Discovery"]


@dataclass(slots=True)
class Discovery:
    """Makes the messages that announce entities, each once.

    Attributes
    ----------
    prefix
        Home Assistant's own, ``homeassistant``.
    device_class
        Of alerts.
    """

    prefix: str
    device_class: str
    topics: Topics
    _told: set[str] = field(default_factory=set)

    def daemon(self) -> list[Message]:
        """Announce the daemon."""
        name = self.topics.daemon
        facts = {
            "name": "Connection",
            "state_topic": self.topics.availability,
            "payload_on": "online",
            "payload_off": "offline",
            "device_class": "connectivity",
            "entity_category": "diagnostic",
            "device": self._device(name, "daemon"),
        }
        return self._told_once("binary_sensor", slug("streamcls", name), "connection", facts)

    def stream(self, stream: str) -> list[Message]:
        """Announce whether a stream runs."""
        facts = self._about(stream, self.topics.status(stream)) | {
            "name": "Connection",
            "value_template": "{{ 'ON' if value_json.state == 'running' else 'OFF' }}",
            "device_class": "connectivity",
            "entity_category": "diagnostic",
        }
        return [*self.daemon(), *self._told_once("binary_sensor", self._node(stream), "connection", facts)]

    def genre(self, stream: str) -> list[Message]:
        """Announce a stream's genre."""
        facts = self._about(stream, self.topics.genre(stream)) | {
            "name": "Genre",
            "value_template": "{{ value_json.label }}",
            "icon": "mdi:music",
        }
        return [*self.stream(stream), *self._told_once("sensor", self._node(stream), "genre", facts)]

    def alert(self, stream: str, label: str) -> list[Message]:
        """Announce a label of alerts."""
        facts = self._about(stream, self.topics.alert(stream, label)) | {
            "name": label or "alert",
            "value_template": "{{ value_json.state }}",
            "device_class": self.device_class,
        }
        return [
            *self.stream(stream),
            *self._told_once("binary_sensor", self._node(stream), slug("alert", label), facts),
        ]

    def forget(self, stream: str) -> list[Message]:
        """Take back what was announced of a stream."""
        node = self._node(stream)
        mine = sorted(topic for topic in self._told if topic.split("/")[-3] == node)
        self._told.difference_update(mine)
        return [Message(topic, b"", retain=True) for topic in mine]

    def _node(self, stream: str) -> str:
        return slug("streamcls", self.topics.daemon, stream)

    def _about(self, stream: str, topic: str) -> dict[str, Any]:
        device = self._device(stream, "audio stream", stream) | {"via_device": slug("streamcls", self.topics.daemon)}
        return {
            "state_topic": topic,
            "json_attributes_topic": topic,
            "availability": [{"topic": self.topics.availability}],
            "device": device,
        }

    def _device(self, name: str, model: str, *more: str) -> dict[str, Any]:
        identifier = slug("streamcls", self.topics.daemon, *more)
        return {"identifiers": [identifier], "name": name, "manufacturer": "streamcls", "model": model}

    def _told_once(self, component: str, node: str, identifier: str, facts: dict[str, Any]) -> list[Message]:
        topic = f"{self.prefix}/{component}/{node}/{identifier}/config"
        if topic in self._told:
            return []
        self._told.add(topic)
        payload = {"unique_id": f"{node}__{identifier}", "qos": 1, "origin": {"name": "streamcls"}, **facts}
        return [Message(topic, json.dumps(payload).encode(), retain=True)]
