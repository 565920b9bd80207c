from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamcls.errors import TrainingError
from streamcls.training.corpora import Clip, read_corpora, read_corpus, read_plain
from streamcls.training.folder import recipe_for_folder
from streamcls.training.recipe import parse_recipe
from streamcls.training.recipe_tables import CorpusTable
from streamcls.training.splits import SPLITS, check_no_leak, split_of_group


def clip(path: str, group: str, split: str) -> Clip:
    return Clip(Path(path), "c", ("a",), (), "a", group, split)


def manifest(folder: Path, *rows: str, columns: str = "path,set,label,seconds,split,group") -> Path:
    path = folder / "manifest.csv"
    path.write_text("\n".join([columns, *rows]) + "\n")
    return path


def test_a_folder_gives_its_labels_and_files(sounds):
    clips = read_corpus(CorpusTable(name="s", path=str(sounds), layout="folder"), ("clicks", "tone"), {})
    assert {c.labels for c in clips} == {("clicks",), ("tone",)}
    assert len(clips) == 40
    assert clips == sorted(clips, key=lambda c: c.key)


def test_splits_drawn_by_hash_hold_about_the_stated_shares():
    splits = [split_of_group(f"recording-{i}") for i in range(4_000)]
    shares = [splits.count(split) / len(splits) for split in SPLITS]
    np.testing.assert_allclose(shares, [0.70, 0.15, 0.15], atol=0.02)
    assert splits == [split_of_group(f"recording-{i}") for i in range(4_000)]


def test_clips_of_one_group_share_a_split_even_across_corpora(tmp_path):
    rows = [f"x/{i}.wav,one,a,1.0,,fsid_{i // 4}" for i in range(80)] + [
        f"y/{i}.wav,two,a,1.0,,fsid_{i % 20}" for i in range(80)
    ]
    path = manifest(tmp_path, *rows)
    clips = [
        c
        for name in ("one", "two")
        for c in read_corpus(CorpusTable(name=name, path=str(path), sets=(name,)), ("a",), {})
    ]
    splits: dict[str, set[str]] = {}
    for c in clips:
        splits.setdefault(c.group, set()).add(c.split)
    assert len(clips) == 160
    assert all(len(found) == 1 for found in splits.values())
    assert {s for found in splits.values() for s in found} == set(SPLITS)
    check_no_leak(clips)


def test_a_leaking_group_is_named_with_both_clips():
    clips = [
        clip("a.wav", "artist-1", "train"),
        clip("b.wav", "artist-2", "test"),
        clip("c.wav", "artist-1", "test"),
    ]
    with pytest.raises(TrainingError, match=r"group 'artist-1' leaks: a\.wav \(c\) is in train, c\.wav \(c\) in test"):
        check_no_leak(clips)


def test_a_file_in_two_splits_is_named():
    with pytest.raises(TrainingError, match=r"file 'a\.wav' leaks"):
        check_no_leak([clip("a.wav", "one", "train"), clip("a.wav", "two", "valid")])


def test_reading_all_corpora_of_a_recipe_finds_the_leak(tmp_path, recipe_text):
    path = manifest(tmp_path, "1.wav,s,tone,1.0,train,g1", "2.wav,s,noise,1.0,test,g1", "3.wav,s,clicks,1.0,train,g2")
    head, _, tail = recipe_text.partition("[[corpus]]")
    text = f'{head}[[corpus]]\nname = "m"\npath = "{path}"\nsplit = "given"\n[network]{tail.partition("[network]")[2]}'
    with pytest.raises(TrainingError, match="group 'g1' leaks"):
        read_corpora(parse_recipe(text), {})


def test_rules_map_labels_and_mark_the_unknown(tmp_path):
    path = manifest(tmp_path, "1.wav,s,street,2.5,train,", "2.wav,s,drill,1.0,train,", "3.wav,s,secret,1.0,train,")
    table = CorpusTable(
        name="m",
        path=str(path),
        split="given",
        labels={"street": ("music", "?speech"), "drill": (), "secret": ("?*",)},
    )
    street, drill, secret = read_corpus(table, ("music", "speech"), {})
    assert (street.labels, street.unknown, street.seconds) == (("music",), ("speech",), 2.5)
    assert (drill.labels, drill.unknown) == ((), ())
    assert (secret.labels, secret.unknown) == ((), ("music", "speech"))


def test_excluded_duplicate_and_skipped_rows_stay_out(tmp_path):
    path = manifest(
        tmp_path,
        "1.wav,a,excluded,,", "2.wav,a,train,,other.wav", "3.wav,a,train,,", "4.wav,a,train,,",
        columns="path,label,split,group,duplicate_of",
    )  # fmt: skip
    table = CorpusTable(name="m", path=str(path), split="given", skip=("4.wav",))
    assert [c.path.name for c in read_corpus(table, ("a",), {})] == ["3.wav"]


def test_a_group_may_come_from_the_path(tmp_path):
    path = manifest(tmp_path, "b/Louise_01.m4a_0.wav,s,a,1,,", "b/Louise_01.m4a_1.wav,s,a,1,,", "b/other.wav,s,a,1,,")
    table = CorpusTable(name="m", path=str(path), group_pattern=r"/(\w+)\.m4a")
    assert [c.group for c in read_corpus(table, ("a",), {})] == ["Louise_01", "Louise_01", "m:b/other"]


@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [
        (["1.wav"], "path", "lacks the column label"),
        (["1.wav,a,dev"], "path,label,split", "has the split 'dev', expected train, valid, test"),
        (["1.wav,a,train,long"], "path,label,split,seconds", "seconds is 'long'"),
        (["1.wav,b,train"], "path,label,split", "no clip with one of the labels a"),
    ],
)
def test_a_bad_manifest_is_named(tmp_path, rows, columns, expected):
    path = manifest(tmp_path, *rows, columns=columns)
    with pytest.raises(TrainingError, match=expected):
        read_corpus(CorpusTable(name="m", path=str(path), split="given"), ("a",), {})


def test_a_missing_variable_says_what_to_give(monkeypatch):
    monkeypatch.delenv("NOWHERE_DATA", raising=False)
    with pytest.raises(TrainingError, match=r"variable NOWHERE_DATA.*--data far=PATH"):
        read_corpus(CorpusTable(name="far", path="${NOWHERE_DATA}/x.csv"), ("a",), {})


def test_the_users_place_wins_over_the_recipes(tmp_path):
    manifest(tmp_path, "1.wav,s,a,1,train,")
    table = CorpusTable(name="far", path="${NOWHERE_DATA}/manifest.csv", split="given")
    assert [c.path for c in read_corpus(table, ("a",), {"far": tmp_path})] == [tmp_path / "1.wav"]


def test_a_place_for_an_unknown_corpus_is_refused(recipe_text, tmp_path):
    with pytest.raises(TrainingError, match="no corpus 'sound', it has sounds"):
        read_corpora(parse_recipe(recipe_text), {"sound": tmp_path})


def test_plain_data_keeps_a_given_split_and_draws_one_otherwise(tmp_path, sounds):
    given = read_plain(manifest(tmp_path, "1.wav,s,tone,1,valid,"), ("tone",))
    assert [c.split for c in given] == ["valid"]
    drawn = read_plain(sounds, ("tone",))
    assert {c.split for c in drawn} <= set(SPLITS)
    assert len(drawn) == 20


def test_a_folder_is_divided_as_training_divided_it(sounds):
    recipe = recipe_for_folder(sounds, "mine")
    trained = {c.path: (c.group, c.split) for c in read_corpora(recipe, {})}
    measured = {c.path: (c.group, c.split) for c in read_plain(sounds, tuple(recipe.labels))}
    assert measured == trained
    assert {c.corpus for c in read_plain(sounds, ("tone",))} != {"folder"}


def test_groups_in_a_recipes_corpus_have_its_name(sounds):
    table = CorpusTable(name="mine", path=str(sounds), layout="folder")
    assert {c.group.partition(":")[0] for c in read_corpus(table, ("tone",), {})} == {"mine"}


MODELS = """
[distillation]
teacher = "${NOWHERE_DATA}/teacher.tflite"
classes = "${NOWHERE_DATA}/classes.csv"
ensemble = ["${NOWHERE_DATA}/one.keras"]

[quantisation]"""


@pytest.mark.parametrize("name", ["teacher", "classes", "distillation.ensemble", "network.start"])
def test_a_place_for_a_model_that_the_recipe_names_is_taken(recipe_text, tmp_path, name):
    text = recipe_text.replace("[quantisation]", MODELS).replace('size = "S"', 'size = "S"\nstart = "one.keras"')
    assert len(read_corpora(parse_recipe(text), {name: tmp_path})) == 60
    with pytest.raises(TrainingError, match=f"no corpus '{name}'"):
        read_corpora(parse_recipe(recipe_text), {name: tmp_path})


@pytest.mark.parametrize("content", [b"OggS\x00\x02\xff\xfe", b"path,label\n"])
def test_a_sound_file_is_no_data(tmp_path, content):
    (tmp_path / "song.ogg").write_bytes(content)
    with pytest.raises(TrainingError, match=r"song\.ogg is neither a folder nor a CSV manifest"):
        read_plain(tmp_path / "song.ogg", ("tone",))
