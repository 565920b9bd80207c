"""The example configuration that is installed: it is right, and it tells of every key."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest
from pydantic import BaseModel

from streamcls.config import Settings, parse_config
from streamcls.daemon import prepare_file
from streamcls.plugins import discover

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLE = Path(__file__).resolve().parents[2] / "systemd" / "streamcls.toml"
DEFAULT_LINE = re.compile(r"^#(?=[a-z_]+ = )", re.MULTILINE)
"""What stands before a default that is stated but commented out; a comment for people has a space after its mark."""


def tables(model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel], bool]]:
    """Yield the tables of a configuration: key, model, whether any number of them may be given."""
    for key, field in model.model_fields.items():
        inner = [one for one in (field.annotation, *get_args(field.annotation)) if isinstance(one, type)]
        (table,) = [one for one in inner if issubclass(one, BaseModel)]
        yield key, table, table is not field.annotation


def of_key(document: dict[str, Any], key: str) -> dict[str, Any]:
    """Return the first table of that name."""
    value = document[key]
    if isinstance(value, list):
        return value[0]
    return next(iter(value.values())) if key in {"model", "policy"} else value


@pytest.fixture(scope="module")
def complete() -> dict[str, Any]:
    return tomllib.loads(DEFAULT_LINE.sub("", EXAMPLE.read_text(encoding="utf-8")))


def test_the_example_is_a_right_configuration():
    prepared = prepare_file(EXAMPLE, discover())
    assert [source.name for source in prepared.resolved.sources] == ["demo"]


def test_every_key_of_every_table_is_in_the_example(complete):
    missing = [
        f"{key}.{name}"
        for key, table, _ in tables(Settings)
        for name in table.model_fields
        if name not in of_key(complete, key)
    ]
    assert missing == []


def test_what_the_example_states_as_a_default_is_the_default(complete):
    given = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    own_default = {
        "subscriber.name",
        "model.bundle",
        "model.stride_s",
        "policy.type",
        "bus.replay",
    }  # none: see their comments
    wrong = [
        f"{key}.{name}"
        for key, table, _ in tables(Settings)
        for name in of_key(complete, key).keys() - of_key(given, key).keys() - {"enter", "leave"}
        if f"{key}.{name}" not in own_default
        and getattr(table.model_validate(of_key(complete, key)), name)
        != table.model_fields[name].get_default(call_default_factory=True)
    ]
    assert wrong == []


def test_the_stated_port_for_the_past_is_where_it_would_be_anyway(complete):
    settings = parse_config(EXAMPLE.read_text(encoding="utf-8"), EXAMPLE.name)
    assert settings.bus.replay_endpoints == tuple(complete["bus"]["replay"])
