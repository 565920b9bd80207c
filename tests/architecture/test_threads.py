"""A thread of ours must not reuse a name of threading.Thread's own: it would break on the Python that has it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from streamcls.runtime.subscribers import IsolatedSubscriber, SubscriberThread, Task
from streamcls.runtime.subscribers.hand import Hand
from streamcls.runtime.supervisor import SourceThread
from streamcls.runtime.workers import Worker

if TYPE_CHECKING:
    from streamcls.types import Event

MEANT = {"run", "name", "__init__", "__module__", "__doc__", "__firstlineno__", "__static_attributes__"}
# Python 3.13 and 3.14 brought these; older ones do not show them.
OF_NEWER_PYTHONS = {"_handle", "_context", "_os_thread_handle"}


def _ignore(_: Event) -> None:
    """Take an event."""


@pytest.mark.parametrize(
    ("thread", "kind"),
    [
        (Worker(0, _ignore, 1.0), Worker),
        (SourceThread.__new__(SourceThread), SourceThread),
        (SubscriberThread("s", lambda: None, "inproc://x", None), SubscriberThread),  # type: ignore[arg-type, return-value]
        (IsolatedSubscriber(Task("s", "m", "C", {}, "tcp://x:1")), IsolatedSubscriber),
        (Hand("s", lambda: None), Hand),  # type: ignore[arg-type, return-value]
    ],
    ids=["worker", "source", "subscriber", "isolated subscriber", "hand"],
)
def test_no_name_of_the_base_class_is_taken(thread: threading.Thread, kind: type[threading.Thread]) -> None:
    base = set(dir(threading.Thread())) | OF_NEWER_PYTHONS
    own = set(vars(kind)) - MEANT
    assert not own & base
    fresh = set(vars(thread)) - set(vars(threading.Thread()))
    assert not fresh & OF_NEWER_PYTHONS
