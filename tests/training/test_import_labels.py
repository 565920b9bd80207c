from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streamcls.errors import BundleError
from streamcls.inference.bundle import parse_labels
from streamcls.training.importing.labels import LabelTable, read_labels

if TYPE_CHECKING:
    from pathlib import Path


def _read(folder: Path, text: str, scheme: str = "") -> LabelTable:
    path = folder / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return read_labels(path, scheme)


YAMNET = 'index,mid,display_name\n0,/m/09x0r,Speech\n1,/t/dd00004,"Whistle, loud"\n'


@pytest.mark.parametrize(
    ("text", "labels", "taxonomy"),
    [
        ("cat\ndog\n", ("cat", "dog"), {}),
        ("cat\r\ndog\r\n\r\n", ("cat", "dog"), {}),
        ('"a, b"\nc', ("a, b", "c"), {}),
        ("label\ncat\n", ("cat",), {}),
        ("\ufefflabel,taxonomy_id\ncat,pets:1\ndog,\n", ("cat", "dog"), {"cat": "pets:1"}),
        ("Taxonomy_ID, Label\n/m/01, cat\n", ("cat",), {"cat": "audioset:/m/01"}),
        (
            YAMNET,
            ("Speech", "Whistle, loud"),
            {"Speech": "audioset:/m/09x0r", "Whistle, loud": "audioset:/t/dd00004"},
        ),
        ("index,name\n1,b\n0,a\n", ("a", "b"), {}),
    ],
)
def test_tables_that_come_with_models(
    tmp_path: Path, text: str, labels: tuple[str, ...], taxonomy: dict[str, str]
) -> None:
    assert _read(tmp_path, text) == LabelTable(labels, taxonomy)


def test_a_scheme_is_put_before_ids_that_have_none(tmp_path: Path) -> None:
    found = _read(tmp_path, "label,taxonomy_id\na,17\nb,own:3\n", "shop")
    assert found.taxonomy == {"a": "shop:17", "b": "own:3"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it has no labels"),
        ("label\n", "a header and no labels"),
        ("cat,1\ndog,2\n", "line 1 has 2 columns, of which none is headed label"),
        ("cat\na, b\n", "row 2 has 2 columns, expected 1; a label with a comma stands in quotes"),
        ("label,taxonomy_id\ncat\n", "row 2 has 1 columns, expected 2"),
        ("cat\ndog\ncat\n", "row 3 repeats the label 'cat' of row 1"),
        ("label,mid\n,/m/01\n", "row 2 has the label ''"),
        ("index,label\n0,a\n0,b\n", "row 3 repeats the index 0"),
        ("index,label\n0,a\n2,b\n", "no row has the index 1, expected 0 to 1"),
        ("index,label\nx,a\n", "row 2 has the index 'x'"),
        ("a\tb\n", r"row 1 has the label 'a\\tb', expected printable text"),
        ('"a', "it is no CSV in UTF-8"),
    ],
)
def test_what_is_no_table_of_labels_is_refused_with_its_row(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BundleError, match=message) as caught:
        _read(tmp_path, text)
    assert "labels.csv" in str(caught.value)


def test_a_missing_or_a_binary_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"nowhere\.csv: No such file"):
        read_labels(tmp_path / "nowhere.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BundleError, match=r"binary\.csv: it is no CSV in UTF-8"):
        read_labels(tmp_path / "binary.csv")


def test_a_bundle_reads_back_what_is_written_of_it(tmp_path: Path) -> None:
    table = _read(tmp_path, YAMNET)
    assert parse_labels(table.text()) == (table.labels, table.taxonomy)
