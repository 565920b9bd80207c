"""What a reload changes, and what must come of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from soaking.configuration import Knobs, rendered

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from soaking.configuration import Places

__all__ = ["Change", "bad_file", "next_change", "unexpected"]


@dataclass(frozen=True, slots=True)
class Change:
    """One difference.

    Attributes
    ----------
    what
        In words.
    turn
        Makes the new settings of the old ones.
    part, names
        Where the daemon's report has to name it: ``("sources", "added")`` with ``("extra",)``, for example. Empty ``names``: the
        part must not be empty.
    streams
        Beginnings of the names of the streams that may be changed or ended by it.
    """

    what: str
    turn: Callable[[Knobs], Knobs]
    part: tuple[str, str]
    names: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()


def _flipped(text: str) -> str:
    return "b" if text == "a" else "a"


def changes(knobs: Knobs) -> list[Change]:
    """Return every change that can be made to these settings."""
    streams = ("streams", "changed")
    subscribers = ("subscribers", "changed")

    def there(is_there: bool) -> str:
        return "removed" if is_there else "added"

    return [
        Change("a rule's tags", lambda k: replace(k, round=k.round + 1), streams, (), ("rule-",)),
        Change("a rule's priority", lambda k: replace(k, rule_priority=5 - k.rule_priority), streams, (), ("rule-",)),
        Change("a rule's models", lambda k: replace(k, rule_genre=not k.rule_genre), streams, (), ("rule-",)),
        Change(
            "whether clips are kept", lambda k: replace(k, clip_evidence=not k.clip_evidence), streams, (), ("clip-",)
        ),
        Change("a threshold", lambda k: replace(k, loose_enter=1.2 - k.loose_enter), streams, (), ("loose-",)),
        Change(
            "a policy's span", lambda k: replace(k, loose_smooth_s=9.0 - k.loose_smooth_s), streams, (), ("loose-",)
        ),
        Change("both models", lambda k: replace(k, swapped=_flipped(k.swapped)), streams, (), ("swap-",)),
        Change("a model's stride", lambda k: replace(k, stride_s=1.5 - k.stride_s), streams, (), ("swap-",)),
        Change("a bundle for another copy", lambda k: replace(k, copy=_flipped(k.copy)), streams, (), ("copy-",)),
        Change(
            "a file source",
            lambda k: replace(k, extra_file=not k.extra_file),
            ("sources", there(knobs.extra_file)),
            ("extra",),
            ("extra",),
        ),
        Change(
            "a programme source",
            lambda k: replace(k, extra_programme=not k.extra_programme),
            ("sources", there(knobs.extra_programme)),
            ("programme",),
            ("programme",),
        ),
        Change(
            "an ingest source",
            lambda k: replace(k, late=not k.late),
            ("sources", there(knobs.late)),
            ("late",),
            ("late-",),
        ),
        Change(
            "a file source's setting",
            lambda k: replace(k, tail_chunk_s=0.5 - k.tail_chunk_s),
            ("sources", "changed"),
            ("tail-0",),
            ("tail-0",),
        ),
        *(
            [
                Change(
                    "an ingest source's setting",
                    lambda k: replace(k, late_max_streams=50 - k.late_max_streams),
                    ("sources", "changed"),
                    ("late",),
                    ("late-",),
                )
            ]
            if knobs.late
            else []
        ),
        Change(
            "the webhook's setting",
            lambda k: replace(k, webhook_timeout_s=18.0 - k.webhook_timeout_s),
            subscribers,
            ("webhook",),
        ),
        Change("the metrics' setting", lambda k: replace(k, stale_s=110.0 - k.stale_s), subscribers, ("prometheus",)),
        Change("the store's setting", lambda k: replace(k, busy_s=9.0 - k.busy_s), subscribers, ("sqlite",)),
        Change("the file of events' setting", lambda k: replace(k, sync=not k.sync), subscribers, ("jsonl",)),
        Change(
            "a subscriber",
            lambda k: replace(k, extra_subscriber=not k.extra_subscriber),
            ("subscribers", there(knobs.extra_subscriber)),
            ("spare",),
        ),
    ]


def next_change(knobs: Knobs, generator: random.Random, done: dict[str, int]) -> Change:
    """Choose what to change next: one of those that came least often."""
    possible = changes(knobs)
    least = min(done.get(change.what, 0) for change in possible)
    return generator.choice([change for change in possible if done.get(change.what, 0) == least])


_SPOILT: Final[tuple[tuple[str, Callable[[str, Places], str]], ...]] = (
    ("no TOML", lambda text, _: text + "\n[[source\n"),
    ("an unknown key", lambda text, _: text.replace("[daemon]\n", "[daemon]\nworkerz = 2\n", 1)),
    ("a value out of range", lambda text, _: text.replace("enter = 0.8", "enter = 2.0", 1)),
    (
        "a model that is not there",
        lambda text, places: text.replace(f"{places.models}/genre-cnn", "/nowhere/genre-cnn", 1),
    ),
    (
        "a damaged model",
        lambda text, places: text.replace(f"{places.models}/moderation-cnn", f"{places.folder}/damaged", 1),
    ),
    ("a name twice", lambda text, _: text + '\n[[source]]\nname = "air"\ntype = "demo"\n'),
    ("an unknown type", lambda text, _: text.replace('type = "webhook"', 'type = "webhoook"', 1)),
    ("an empty file", lambda _text, _places: ""),
)


def bad_file(places: Places, knobs: Knobs, number: int) -> tuple[str, str]:
    """Return what is wrong and the text of a configuration that must be refused."""
    what, spoil = _SPOILT[number % len(_SPOILT)]
    return what, spoil(rendered(places, knobs), places)


def unexpected(change: Change, report: dict[str, Any]) -> list[str]:
    """Compare what the daemon reports of a reload with what was to come of it; return what is otherwise, as sentences."""
    wrong = []
    if report.get("state") != "applied":
        return [f"{change.what}: {report.get('state')}: {report.get('reason')} {report.get('problems')}"]
    table, member = change.part
    named = list((report.get(table) or {}).get(member) or ())
    if not named or not set(change.names) <= set(named):
        wrong.append(f"{change.what}: {table}.{member} is {named}, expected {list(change.names) or 'some'}")
    touched = report.get("streams") or {}
    names = [*(touched.get("changed") or ()), *(touched.get("ended") or ())]
    others = [name for name in names if not name.startswith(change.streams)]
    return wrong + [f"{change.what}: stream {name} was touched" for name in others]
