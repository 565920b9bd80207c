"""Running subscriber plugins so that none of them can harm another one or the daemon."""

from __future__ import annotations

from streamcls.runtime.subscribers.handing import handle_guarded
from streamcls.runtime.subscribers.isolated import IsolatedSubscriber, Task
from streamcls.runtime.subscribers.making import Surroundings, supervise
from streamcls.runtime.subscribers.standing import Supervised
from streamcls.runtime.subscribers.supervised import SubscriberThread

__all__ = [
    "IsolatedSubscriber",
    "SubscriberThread",
    "Supervised",
    "Surroundings",
    "Task",
    "handle_guarded",
    "supervise",
]
