from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from streamcls.decision import READY_MAPS, LabelMap, MapSetting, label_map, ready_map
from streamcls.types import ModelInfo

if TYPE_CHECKING:
    from pathlib import Path

GENRES = {"blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock"}
MODERATION = {
    "gun_shot",
    "explosion",
    "siren",
    "glass_breaking",
    "crying_baby",
    "screaming",
    "speech",
    "music",
    "silence",
}
FIRST_GENRE, LAST_GENRE = "Pop music", "Independent music"


def model(labels: list[str], taxonomy: dict[str, str] | None = None, *, exclusive: bool = False) -> ModelInfo:
    return ModelInfo("tagger", "1", "tagging", tuple(labels), exclusive, 1.0, 0.5, taxonomy=taxonomy or {})


def by_name(task: str) -> dict[str, str]:
    return {one.name: one.label for one in ready_map("audioset", task).classes}


@pytest.mark.parametrize(("task", "labels"), [("genre", GENRES), ("moderation", MODERATION)])
def test_every_label_of_the_task_has_a_class_and_every_class_a_reason(task: str, labels: set[str]) -> None:
    classes = ready_map("audioset", task).classes
    assert {one.label for one in classes if one.label} == labels
    assert all(one.why and one.name for one in classes)
    assert len({one.name for one in classes}) == len(classes)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Bluegrass", "country"),
        ("Swing music", "jazz"),
        ("Opera", "classical"),
        ("Rapping", "hiphop"),
        ("Grunge", "rock"),
        ("Punk rock", "rock"),
        ("Heavy metal", "metal"),
        ("Ska", "reggae"),
        ("Dubstep", ""),
        ("Rhythm and blues", ""),
        ("Carnatic music", ""),
    ],
)
def test_genres_that_are_argued_about(name: str, label: str) -> None:
    assert by_name("genre")[name] == label


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Shout", "screaming"),
        ("Yell", "screaming"),
        ("Children shouting", ""),
        ("Machine gun", "gun_shot"),
        ("Cap gun", ""),
        ("Fireworks", ""),
        ("Civil defense siren", "siren"),
        ("Car alarm", ""),
        ("Chink, clink", ""),
        ("Crying, sobbing", ""),
    ],
)
def test_sounds_that_are_argued_about(name: str, label: str) -> None:
    assert by_name("moderation")[name] == label


def test_weights_and_thresholds_are_given_for_the_labels_and_for_no_others() -> None:
    genre, moderation = (ready_map("audioset", task) for task in ("genre", "moderation"))
    assert set(genre.typical) == GENRES
    assert min(genre.typical.values()) > 0
    assert set(moderation.enter) == MODERATION
    assert not moderation.typical
    assert moderation.gate is None


def test_names_and_ids_are_those_of_yamnet_and_no_genre_is_forgotten(data: Path) -> None:
    with (data / "reference" / "yamnet_class_map.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    ids = {row["display_name"]: f"audioset:{row['mid']}" for row in rows}
    for task in ("genre", "moderation"):
        for one in ready_map("audioset", task).classes:
            assert ids[one.name] == one.taxonomy
    gate = ready_map("audioset", "genre").gate
    assert gate is not None
    assert ids[gate[1]] == gate[0]
    names = [row["display_name"] for row in rows]
    genres = names[names.index(FIRST_GENRE) : names.index(LAST_GENRE) + 1]
    assert set(genres) <= set(by_name("genre"))


def test_classes_are_found_by_their_id_whatever_the_model_calls_them() -> None:
    info = model(["Rockmusik", "Regen", "Jazz"], {"Rockmusik": "audioset:/m/06by7", "Jazz": "audioset:/m/06mb1"})
    mapped = label_map(info, "audioset", "genre")
    assert mapped.labels == ("rock",)  # what is called Jazz has the id of rain
    assert mapped.sources == {"rock": ("Rockmusik",)}


def test_classes_are_found_by_name_where_the_model_has_no_ids_or_those_of_another_taxonomy() -> None:
    info = model(["Jazz", "Swing music", "Rain"], {"Jazz": "ours:17"})
    assert label_map(info, "audioset", "genre").sources == {"jazz": ("Jazz", "Swing music")}


def test_a_model_that_knows_none_of_the_classes_is_refused_by_name() -> None:
    with pytest.raises(
        ValueError, match="map is 'audioset', but tagger has no label that is one of its classes for genre"
    ):
        label_map(model(["cat", "dog"]), "audioset", "genre")


def test_a_table_is_taken_as_it_is() -> None:
    mapped = label_map(model(["cat", "dog"]), {"cat": "pet", "dog": "pet"}, "genre")
    assert (mapped.labels, mapped.thresholds) == (("pet",), {})
    np.testing.assert_allclose(mapped.apply(np.array([0.2, 0.6], np.float32)), [0.6])


def test_a_name_that_is_no_ready_map_is_refused_with_those_there_are() -> None:
    setting: TypeAdapter = TypeAdapter(MapSetting)
    assert [setting.validate_python(name) for name in READY_MAPS] == list(READY_MAPS)
    assert setting.validate_python({"a": "b"}) == {"a": "b"}
    with pytest.raises(ValidationError, match="expected a table or one of 'audioset'"):
        setting.validate_python("audiset")


@pytest.mark.parametrize("value", [["audioset"], {"a": 1}, 3])
def test_what_is_neither_table_nor_name_is_one_problem(value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(MapSetting).validate_python(value)
    assert caught.value.error_count() == 1


def test_scores_far_below_one_half_become_shares_of_what_is_typical() -> None:
    mapped = LabelMap(("a", "b", "m"), {"a": "x", "b": "y"}, exclusive=False, typical={"x": 0.01, "y": 0.02}, rest=1.0)
    # 0.03 is three times, 0.02 once what is typical: 3 / (3 + 1 + 1) and 1 / 5
    np.testing.assert_allclose(mapped.apply(np.array([0.03, 0.02, 0.9], np.float32)), [0.6, 0.2], rtol=1e-6)
    np.testing.assert_allclose(mapped.apply(np.array([1e-6, 1e-6, 0.9], np.float32)), [1e-4, 5e-5], rtol=1e-3)
    assert mapped.apply(np.zeros(3, np.float32)).tolist() == [0.0, 0.0]


def test_nothing_typical_and_no_rest_give_nothing() -> None:
    mapped = LabelMap(("a",), {"a": "x"}, exclusive=False, typical={"x": 0.01})
    assert mapped.apply(np.zeros(1, np.float32)).tolist() == [0.0]


@pytest.mark.parametrize(("gate", "expected"), [(0.5, 0.75), (0.9, 0.75), (0.25, 0.375), (0.0, 0.0)])
def test_shares_shrink_with_the_gate(gate: float, expected: float) -> None:
    mapped = LabelMap(("a", "music"), {"a": "x"}, exclusive=False, typical={"x": 0.1}, rest=1.0, gate=("music", 0.5))
    np.testing.assert_allclose(mapped.apply(np.array([0.3, gate], np.float32)), [expected], rtol=1e-6)


def test_exclusive_probabilities_stay_as_they_are() -> None:
    info = model(["Jazz", "Swing music", "Blues", "Music"], exclusive=True)
    values = label_map(info, "audioset", "genre").apply(np.array([0.2, 0.3, 0.1, 0.4], np.float32))
    np.testing.assert_allclose(values, [0.5, 0.1], rtol=1e-6)


def test_a_gate_that_the_model_lacks_lets_everything_through() -> None:
    with_it, without = ([*("Jazz", "Blues"), *more] for more in (["Music"], []))
    scores = np.array([0.06, 0.004, 0.25], np.float32)
    gated = label_map(model(with_it), "audioset", "genre").apply(scores)
    free = label_map(model(without), "audioset", "genre").apply(scores[:2])
    np.testing.assert_allclose(gated, free / 2, rtol=1e-6)


def test_the_documentation_lists_every_class_under_its_label(root: Path) -> None:
    text = (root / "docs" / "models.md").read_text(encoding="utf-8")
    for task in ("genre", "moderation"):
        for label in {one.label for one in ready_map("audioset", task).classes if one.label}:
            names = [one.name for one in ready_map("audioset", task).classes if one.label == label]
            assert f"| `{label}` | {'; '.join(names)} |" in text
