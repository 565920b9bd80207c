"""Events and the present state of each stream at an MQTT broker, for Home Assistant and others."""

from __future__ import annotations

from streamcls import hookimpl
from streamcls_mqtt.mqtt import MqttSubscriber

__all__ = ["register_subscribers"]


@hookimpl
def register_subscribers() -> list[type]:
    """Offer the subscriber."""
    return [MqttSubscriber]
