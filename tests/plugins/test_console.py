"""The subscriber ``console``: what people read."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from streamcls.testing import example_envelopes, make_envelope
from streamcls_console import ConsoleSubscriber
from streamcls_console.console import line_of

if TYPE_CHECKING:
    from collections.abc import Mapping


TO = "\N{EN DASH}"


class Terminal(io.StringIO):
    """Standard output that is a terminal."""

    def isatty(self) -> bool:
        return True


def _lines(kind: str) -> list[str]:
    return [line_of(event) for event in example_envelopes() if event["type"] == f"streamcls.{kind}"]


def _printed(capsys: pytest.CaptureFixture[str], events: list[Mapping[str, Any]], **options: object) -> str:
    subscriber = ConsoleSubscriber(ConsoleSubscriber.Config.model_validate(options))
    for event in events:
        subscriber.handle(event)
    subscriber.close()
    return capsys.readouterr().out


def test_a_genre_window_shows_place_label_best_posteriors_and_level() -> None:
    first, second = _lines("genre.window")
    assert (
        first
        == f"00:00:04 radio-1      genre.window      0:00.0{TO}0:03.0  jazz       [jazz 0.90  rock 0.10]  -18 dBFS"
    )
    assert "unsure     [rock 0.60  jazz 0.40]" in second


def test_a_segment_shows_its_phase_and_why_it_ended() -> None:
    opened, updated, closed, unsure, ended = _lines("genre.segment")
    assert opened.endswith(f"0:00.0{TO}0:04.0  opened  jazz  p=0.81")
    assert "updated jazz" in updated
    assert closed.endswith("closed  jazz  p=0.81  changed")
    assert "unsure (nothing stands out)" in unsure
    assert "unsure (silence)  p=0.81  shutdown" in ended


def test_an_alert_shows_severity_and_action() -> None:
    opened, *_, closed = _lines("moderation.alert")
    assert "OPENED siren  medium, review  p=0.97" in opened
    assert "  over" in closed


def test_what_people_said_of_an_alert_is_shown() -> None:
    _, seen, muted, silent, closed = _lines("moderation.alert")
    assert seen.endswith("[seen by ada]")
    assert muted.endswith("[seen by ada]  [muted: siren test]")
    assert silent.endswith("[muted: night]")
    assert closed.endswith("over  [seen by ada]  [muted: siren test]")
    (acknowledged,) = _lines("moderation.ack")
    assert acknowledged.endswith(f"{'9f' * 16} seen by ada  on it")
    made, ended, over = _lines("moderation.mute")
    assert made.endswith("muted siren radio-* for ever  siren test")
    assert "unmuted siren" in ended
    assert f"expired {'9f' * 16} until 2026-" in over


def test_a_subscriber_in_trouble_is_shown_with_its_reason() -> None:
    lines = _lines("daemon.subscriber")
    assert any(
        line.endswith("subscriber webhook restarting  it cannot be made: OSError: disk on fire") for line in lines
    )
    assert any(line.endswith("subscriber webhook running") for line in lines)


def test_a_moderation_window_shows_the_labels_over_their_threshold() -> None:
    quiet, loud = _lines("moderation.window")
    assert "  -          [siren 0.02" in quiet
    assert "  siren      [siren 0.97" in loud


def test_times_beyond_a_minute_are_minutes_and_seconds() -> None:
    span = {"first_sample": 61 * 8_000, "end_sample": 754 * 8_000 + 4_000, "sample_rate": 8_000}
    window = {**span, "label": "jazz", "posterior": {"jazz": 1.0}, "level_dbfs": -20.0}
    assert f"1:01.0{TO}12:34.5" in line_of(make_envelope("genre.window", window))


def test_a_state_shows_its_reason() -> None:
    lines = _lines("stream.status")
    assert any(line.endswith("retrying  device unplugged; next attempt in 1 s") for line in lines)


def test_an_unknown_kind_is_shown_as_it_is_but_not_without_end() -> None:
    line = line_of(make_envelope("sample.other", {"a": 1, "long": "x" * 1_000}))
    assert "sample.other" in line
    assert "{'a': 1" in line
    assert len(line) < 300


def test_heartbeats_and_windows_are_printed_where_they_are_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    events = example_envelopes()
    usual = _printed(capsys, events)
    assert "daemon.heartbeat" not in usual
    assert "genre.window" in usual
    assert len(usual.splitlines()) == len(events) - 1
    few = _printed(capsys, events, windows=False, heartbeats=True)
    assert "up 60 s, 128 events, 2 streams" in few
    assert ".window" not in few


@pytest.mark.parametrize(
    ("colour", "terminal", "no_colour", "coloured"),
    [
        ("auto", True, "", True),
        ("auto", True, "1", False),
        ("auto", False, "", False),
        ("always", False, "1", True),
        ("never", True, "", False),
    ],
)
def test_colour_is_for_terminals_unless_it_is_stated(
    monkeypatch: pytest.MonkeyPatch, colour: str, *, terminal: bool, no_colour: str, coloured: bool
) -> None:
    output = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setenv("NO_COLOR", no_colour)
    subscriber = ConsoleSubscriber(ConsoleSubscriber.Config.model_validate({"colour": colour}))
    for event in example_envelopes():
        subscriber.handle(event)
    assert ("\x1b[" in output.getvalue()) == coloured
    assert output.getvalue().count("\x1b[0m") % 2 == 0, "every colour ends on its line"


def test_an_open_alert_stands_out_in_red(monkeypatch: pytest.MonkeyPatch) -> None:
    output = Terminal()
    monkeypatch.setattr(sys, "stdout", output)
    subscriber = ConsoleSubscriber(ConsoleSubscriber.Config.model_validate({"colour": "always"}))
    for event in example_envelopes():
        subscriber.handle(event)
    red = [line for line in output.getvalue().splitlines() if "\x1b[1;31m" in line]
    assert len(red) == 2, "a muted one does not"
    assert all("moderation.alert" in line for line in red)


def test_a_colour_that_is_none_is_refused() -> None:
    with pytest.raises(ValidationError):
        ConsoleSubscriber.Config.model_validate({"colour": "green"})
