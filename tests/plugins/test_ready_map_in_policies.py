"""``map = "audioset"``: a tagger's scores become genre segments and alerts at the policies' own thresholds."""

from __future__ import annotations

import pytest
from opinions import WINDOW_S, context, of, posterior
from pydantic import ValidationError

from streamcls_genre.config import GenreConfig
from streamcls_genre.policy import UNSURE, GenrePolicy
from streamcls_moderation.config import DEFAULT_RULES, ModerationConfig
from streamcls_moderation.policy import ModerationPolicy

LABELS = ("Music", "Jazz", "Swing music", "Rock music", "Siren", "Emergency vehicle", "Rain")
IDS = {"Siren": "audioset:/m/03kmc9", "Jazz": "audioset:/m/03_d0", "Rock music": "audioset:/m/06by7"}
JAZZ = [0.9, 0.04, 0.0, 0.008, 0.0, 0.0, 0.0]
RAIN = [0.02, 0.0001, 0.0, 0.0001, 0.0, 0.0, 0.9]
SIREN = [0.02, 0.0, 0.0, 0.0, 0.25, 0.1, 0.0]


def _tagger() -> object:
    return context(LABELS, task="tagging", exclusive=False, taxonomy=IDS)


def _genres(windows: list[list[float]]) -> list[tuple[str, float]]:
    policy = GenrePolicy(GenreConfig(map="audioset", window_events=False), _tagger())
    events = [
        event for i, values in enumerate(windows) for event in policy.update(posterior(LABELS, values, WINDOW_S + i))
    ]
    return [(data["label"], data["probability"]["mean"]) for data in of(events, "genre.segment")]


def test_jazz_that_a_tagger_scores_with_a_twenty_fifth_is_a_segment_of_jazz() -> None:
    ((label, probability),) = _genres([JAZZ] * 4)
    assert label == "jazz"
    assert probability > 0.8


def test_rain_is_no_genre() -> None:
    ((label, _),) = _genres([RAIN] * 4)
    assert label == UNSURE


def test_what_is_no_music_is_no_genre_however_it_sounds() -> None:
    ((label, _),) = _genres([[0.05, *JAZZ[1:]]] * 4)
    assert label == UNSURE


def test_a_siren_raises_an_alert_at_the_threshold_of_the_map() -> None:
    policy = ModerationPolicy(ModerationConfig(map="audioset", window_events=False), _tagger())
    events = [event for i in range(3) for event in policy.update(posterior(LABELS, SIREN, WINDOW_S + i))]
    (alert,) = of(events, "moderation.alert")
    assert (alert["label"], alert["phase"], alert["thresholds"]["enter"]) == ("siren", "opened", 0.2)
    assert alert["taxonomy"] == ["audioset:/m/03kmc9"]


def test_a_rule_of_the_configuration_goes_before_the_map() -> None:
    config = ModerationConfig.model_validate({"map": "audioset", "labels": {"siren": {"enter": 0.3}}})
    events = ModerationPolicy(config, _tagger()).update(posterior(LABELS, SIREN, WINDOW_S))
    assert events[0].data["labels"] == []


def test_the_thresholds_of_a_bundle_go_before_those_of_the_map() -> None:
    where = context(LABELS, task="tagging", exclusive=False, taxonomy=IDS, thresholds={"siren": 0.26})
    events = ModerationPolicy(ModerationConfig(map="audioset"), where).update(posterior(LABELS, SIREN, WINDOW_S))
    assert events[0].data["labels"] == []


def test_every_built_in_rule_has_a_label_of_the_map() -> None:
    from streamcls.decision import ready_map

    assert set(DEFAULT_RULES) <= {one.label for one in ready_map("audioset", "moderation").classes}


@pytest.mark.parametrize("config", [GenreConfig, ModerationConfig])
def test_a_map_that_does_not_exist_is_named_with_those_that_do(config: type) -> None:
    with pytest.raises(ValidationError, match="expected a table or one of 'audioset'"):
        config(map="audiset")
