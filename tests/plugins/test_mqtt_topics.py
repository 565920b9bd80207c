"""Names in MQTT topics and in Home Assistant's ids: valid, and never two in one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcls_mqtt.topics import Topics, level, slug

NAMES = st.text(max_size=12) | st.from_regex(r"[a-c_%+/# .:@-]{0,8}", fullmatch=True)


@given(NAMES, NAMES)
def test_two_names_are_two_levels(a: str, b: str) -> None:
    assert (level(a) == level(b)) == (a == b)


@given(st.lists(NAMES, min_size=1, max_size=3), st.lists(NAMES, min_size=1, max_size=3))
def test_two_lists_of_names_are_two_ids(a: list[str], b: list[str]) -> None:
    assert (slug(*a) == slug(*b)) == (a == b)


@given(st.text())
def test_a_level_is_one_and_an_id_has_the_letters_that_home_assistant_takes(name: str) -> None:
    assert not set(level(name)) & set("/+#\0 $")
    assert level(name)
    assert re.fullmatch(r"[A-Za-z0-9_-]*", slug(name))


@pytest.mark.parametrize("length", [181, 65_536, 400_000])
def test_a_long_name_is_shortened_and_stays_another(length: int) -> None:
    assert len(level("x" * length)) < 250
    assert level("x" * length) != level("x" * (length + 1))
    assert slug("x" * length) != slug("x" * (length + 1))


def test_a_lone_surrogate_is_a_name_like_others() -> None:
    assert level("\ud800") == "%ED%A0%80"


def test_topics_are_as_documented() -> None:
    topics = Topics("streamcls", "studio")
    assert topics.availability == "streamcls/studio/availability"
    assert topics.genre("radio+1") == "streamcls/studio/radio%2B1/genre"
    assert topics.alert("radio-1", "glass/breaking") == "streamcls/studio/radio-1/alert/glass%2Fbreaking"
    assert topics.event("radio-1", "genre.segment") == "streamcls/studio/radio-1/event/genre.segment"
