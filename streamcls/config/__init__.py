"""The configuration: what may stand in it, how it is read, and what is in force."""

from __future__ import annotations

from streamcls.config.load import default_text, load_config, located, name_of, parse_config, read_config
from streamcls.config.resolve import Resolved, resolve
from streamcls.config.schema import Settings, StreamSettings

__all__ = [
    "Resolved",
    "Settings",
    "StreamSettings",
    "default_text",
    "load_config",
    "located",
    "name_of",
    "parse_config",
    "read_config",
    "resolve",
]
