"""The contract of subscribers."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final

from streamcls.interfaces import Subscriber
from streamcls.testing.component import ComponentContract, in_thread
from streamcls.testing.envelopes import example_envelopes, make_envelope

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["SubscriberContract"]

_WITHIN_S: Final = 30.0


class SubscriberContract(ComponentContract):
    """Subclass it, set ``component``, and override ``options`` where the subscriber needs a configuration."""

    def take(self, events: Iterable[Mapping[str, Any]], closes: int = 1) -> None:
        """Make the subscriber, hand it the events and close it, all on one thread as the daemon does."""
        config = self.config()

        def live() -> None:
            subscriber = self.component(config)
            try:
                for event in events:
                    subscriber.handle(event)
            finally:
                for _ in range(closes):
                    subscriber.close()

        in_thread(live, _WITHIN_S, "handling the events")

    def test_it_has_the_members_of_a_subscriber(self) -> None:
        """See :class:`streamcls.Subscriber`."""
        subscriber = self.component(self.config())
        subscriber.close()
        assert isinstance(subscriber, Subscriber), "it lacks handle or close"

    def test_it_takes_every_kind_of_event(self) -> None:
        """Every kind, phase and state of the wire format, with and without what is optional in it."""
        self.take(example_envelopes())

    def test_it_takes_events_of_kinds_that_it_does_not_know(self) -> None:
        """Other plugins publish kinds of their own, and later versions of streamcls new ones."""
        self.take(
            [
                make_envelope("sample.unheard_of", {"level": 3, "nested": {"list": [1, None, True, "ü"]}}),
                make_envelope("genre.unheard_of", {}),
            ]
        )

    def test_it_takes_events_with_fields_that_it_does_not_know(self) -> None:
        """Later versions add fields; they never change the meaning of those that are there."""
        events = []
        for event in example_envelopes():
            richer = copy.deepcopy(event)
            richer["traceparent"] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
            richer["data"]["unheard_of"] = {"a": [1, 2, {"b": None}]}
            events.append(richer)
        self.take(events)

    def test_it_does_not_change_an_event(self) -> None:
        """What it is handed is not its own."""
        events = example_envelopes()
        before = copy.deepcopy(events)
        self.take(events)
        for event, original in zip(events, before, strict=True):
            assert event == original, f"the event {original['type']} was changed"

    def test_it_can_be_closed_without_having_seen_an_event(self) -> None:
        """A daemon may stop at once."""
        self.take([])

    def test_it_can_be_closed_twice(self) -> None:
        """Whoever cleans up after an error may do so once too often."""
        self.take(example_envelopes(), closes=2)
