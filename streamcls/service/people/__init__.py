"""What people say about alerts: acknowledgements, mutes and planned silence, kept over restarts and visible in the events."""

from __future__ import annotations

from streamcls.service.people.people import People

__all__ = ["People"]
