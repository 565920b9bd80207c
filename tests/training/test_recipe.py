from __future__ import annotations

import pytest

from streamcls.errors import TrainingError
from streamcls.training.export import frozen_recipe
from streamcls.training.recipe import load_recipe, parse_recipe


def test_a_frozen_recipe_reads_back_as_the_same_recipe(recipe_text):
    recipe = parse_recipe(recipe_text)
    again = parse_recipe(frozen_recipe(recipe))
    assert again.spec == recipe.spec
    assert again.model_dump(exclude={"front_end"}) == recipe.model_dump(exclude={"front_end"})


def test_a_frozen_recipe_spells_out_the_defaults(recipe_text):
    frozen = frozen_recipe(parse_recipe(recipe_text))
    assert "hop_length = 512" in frozen
    assert "weight_decay = 0.0001" in frozen


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("seed = 5", "sead = 5", r"sead: unknown key; did you mean 'seed'\?"),
        ("epochs = 6", "epoch = 3", r"training\.epoch: unknown key; did you mean 'epochs'\?"),
        (
            'layout = "folder"',
            'layuot = "folder"',
            r"corpus\.0\.layuot: unknown key; did you mean 'layout'\?",
        ),
        ("n_mels = 32", "n_mel = 32", r"front_end: unknown key 'n_mel'; did you mean 'n_mels'\?"),
        ("n_mfcc = 32", "n_mfcc = 33", r"front_end: n_mfcc is 33, expected 1 to n_mels \(32\)"),
        ("epochs = 6", "epochs = 0", r"training\.epochs: .*greater than or equal to 1"),
        ('size = "S"', 'size = "XXL"', r"network\.size: .*'S', 'M' or 'L'"),
        (
            "[network]",
            'labels = { a = ["toone"] }\n[network]',
            r"labels\.a names 'toone'.*did you mean 'tone'\?",
        ),
        ("[training]", "[augmentation]\nmix = 0.5\n[training]", r"augmentation\.mix .*use mix_up"),
        ("epochs = 6", "epochs = 6\nlabel_share = { drums = 2.0 }", r"training\.label_share names 'drums'"),
        ("seed = 5", "seed = ", r"no valid TOML"),
    ],
)
def test_a_mistake_is_named_with_its_key(recipe_text, old, new, expected):
    with pytest.raises(TrainingError, match=expected):
        parse_recipe(recipe_text.replace(old, new, 1), "my.toml")


def test_every_mistake_is_reported_at_once(recipe_text):
    text = recipe_text.replace("seed = 5", "seed = -5").replace("epochs = 6", "epochs = -6")
    with pytest.raises(TrainingError, match=r"my\.toml: seed: .*; training\.epochs: "):
        parse_recipe(text, "my.toml")


def test_two_corpora_need_two_names(recipe_text):
    corpus = '[[corpus]]\nname = "sounds"\npath = "elsewhere"\n'
    with pytest.raises(TrainingError, match="'sounds' is used 2 times"):
        parse_recipe(recipe_text.replace("[network]", corpus + "[network]"))


def test_a_recipe_that_is_not_there_is_named(tmp_path):
    with pytest.raises(TrainingError, match=r"none\.toml: the recipe cannot be read"):
        load_recipe(tmp_path / "none.toml")
