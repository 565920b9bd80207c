"""For authors of plugins: values to test with, example events, and the contracts as test suites.

A suite is a plain class. Subclass it in a test module under a name that begins with ``Test``, say which component it is about and how
that is configured, and pytest runs every rule of the contract on it; ``docs/writing-a-plugin.md`` shows each. Nothing here needs pytest
to be imported.
"""

from __future__ import annotations

from streamcls.testing.backends import BackendContract
from streamcls.testing.component import ComponentContract, in_thread
from streamcls.testing.envelopes import example_envelopes, make_envelope
from streamcls.testing.policies import PolicyContract, check_findings, open_findings
from streamcls.testing.signals import chunks_of, noise, tone
from streamcls.testing.sources import SourceContract, deliver
from streamcls.testing.subscribers import SubscriberContract
from streamcls.testing.values import make_levels, make_model, make_posterior, make_window

__all__ = [
    "BackendContract",
    "ComponentContract",
    "PolicyContract",
    "SourceContract",
    "SubscriberContract",
    "check_findings",
    "chunks_of",
    "deliver",
    "example_envelopes",
    "in_thread",
    "make_envelope",
    "make_levels",
    "make_model",
    "make_posterior",
    "make_window",
    "noise",
    "open_findings",
    "tone",
]
