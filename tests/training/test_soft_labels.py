from __future__ import annotations

import numpy as np
import pytest

from streamcls.errors import TrainingError
from streamcls.training.soft_labels import SoftLabels, class_names

CLASSES = ("Reggae", "Ska", "Jazz", "Speech")
MAP = {"reggae": ("Reggae", "Ska"), "jazz": ("Jazz",), "other": ("Speech",)}
LABELS = ("jazz", "reggae", "other")


def test_the_classes_of_a_label_are_summed_up_to_one():
    soft = SoftLabels(MAP, CLASSES, LABELS, exclusive=True)
    scores = soft.scores(np.array([[0.2, 0.1, 0.5, 0.0], [0.9, 0.9, 0.0, 0.3]], np.float32))
    np.testing.assert_allclose(scores, [[0.5, 0.3, 0.0], [0.0, 1.0, 0.3]], atol=1e-6)


def test_exclusive_targets_sum_to_one_and_none_is_ruled_out():
    soft = SoftLabels(MAP, CLASSES, LABELS, exclusive=True)
    targets = soft.targets(np.array([0.5, 0.25, 0.0], np.float32))
    assert targets.sum() == pytest.approx(1.0)
    assert targets[0] == pytest.approx(2 * targets[1], rel=0.01)
    assert 0 < targets[2] < 0.01


@pytest.mark.parametrize(("power", "ratio"), [(0.0, 1.0), (0.5, 2.0), (1.0, 4.0)])
def test_what_is_rare_gains_by_the_power_of_its_rarity(power, ratio):
    soft = SoftLabels(MAP, CLASSES, LABELS, exclusive=True, typical=power)
    soft.learn_typical(np.array([[0.399, 0.099, 0.099], [0.399, 0.099, 0.099]], np.float32))
    targets = soft.targets(np.array([0.3, 0.3, 0.3], np.float32))
    assert targets[1] / targets[0] == pytest.approx(ratio, rel=1e-3)


def test_independent_targets_are_the_scores_and_what_is_not_mapped_is_known_as_such():
    soft = SoftLabels({"jazz": ("Jazz",)}, CLASSES, LABELS, exclusive=False, typical=1.0)
    soft.learn_typical(np.full((3, 3), 0.9, np.float32))
    np.testing.assert_array_equal(soft.mapped, [True, False, False])
    np.testing.assert_allclose(soft.targets(np.array([0.4, 0.0, 0.0], np.float32)), [0.4, 0, 0])


def test_an_unknown_class_is_named():
    with pytest.raises(TrainingError, match=r"distillation\.map\.jazz names 'Jaz'"):
        SoftLabels({"jazz": ("Jaz",)}, CLASSES, LABELS, exclusive=True)


def test_class_names_are_read_in_their_order_and_a_bad_file_is_named(tmp_path):
    path = tmp_path / "classes.csv"
    path.write_text('index,mid,display_name\n0,/m/1,"Child speech, kid speaking"\n1,/m/2,Jazz\n')
    assert class_names(path) == ("Child speech, kid speaking", "Jazz")
    path.write_text("a,b\n1,2\n")
    with pytest.raises(TrainingError, match=r"classes\.csv has no column 'display_name'"):
        class_names(path)
    with pytest.raises(TrainingError, match=r"none\.csv cannot be read"):
        class_names(tmp_path / "none.csv")


def test_an_exclusive_label_that_the_map_does_not_name_gets_nothing():
    soft = SoftLabels({"jazz": ("Jazz",), "other": ("Speech",)}, CLASSES, LABELS, exclusive=True, typical=1.0)
    soft.learn_typical(np.full((3, 3), 1e-3, np.float32))
    targets = soft.targets(np.array([0.001, 0.0, 0.001], np.float32))
    np.testing.assert_allclose(targets, [0.5, 0.0, 0.5], atol=1e-6)
