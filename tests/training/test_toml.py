from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcls.training.toml import dump_toml

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
SCALARS = st.one_of(TEXT, st.booleans(), st.integers(-(2**62), 2**62), st.floats(allow_nan=False, allow_infinity=False))
VALUES = st.recursive(
    st.one_of(SCALARS, st.lists(SCALARS, max_size=4)),
    lambda inner: st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(TEXT, VALUES, max_size=6))
def test_what_is_written_reads_back(table):
    assert tomllib.loads(dump_toml(table)) == table


def test_arrays_of_tables_read_back():
    table = {
        "a": 1,
        "corpus": [{"name": "x", "labels": {"*": ["b"], "c d": []}}, {"name": "y", "labels": {}}],
    }
    read = tomllib.loads(dump_toml(table))
    assert read["corpus"][0] == table["corpus"][0]
    assert read["corpus"][1] == {"name": "y"}


def test_none_is_left_out():
    assert tomllib.loads(dump_toml({"a": None, "b": 2})) == {"b": 2}


def test_a_value_that_toml_has_not_is_refused():
    with pytest.raises(TypeError, match="object"):
        dump_toml({"a": object()})
