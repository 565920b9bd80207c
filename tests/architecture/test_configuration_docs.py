"""Every key of the configuration stands in its documentation, with the default that is in force."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from streamcls.config.schema import (
    BusSettings,
    DaemonSettings,
    ModelSettings,
    ModelsSettings,
    StreamSettings,
    SubscriberEntry,
)

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import BaseModel

TABLES = [DaemonSettings, BusSettings, ModelSettings, StreamSettings, SubscriberEntry]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_every_key_is_documented_with_its_default(table: type[BaseModel], root: Path) -> None:
    rows = [
        line
        for line in (root / "docs" / "configuration.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| `")
    ]
    for name, field in table.model_fields.items():
        row = next((row for row in rows if f"`{name}`" in row.split("|")[1]), None)
        assert row is not None, f"{name} is not documented"
        default = field.get_default()
        if isinstance(default, (bool, int, float, str)) and not field.is_required():
            shown = json.dumps(default)
            assert f"`{shown}`" in row or (name == "name" and table is SubscriberEntry), f"{name}: {row} lacks {shown}"


def test_the_search_path_of_models_is_documented(root: Path) -> None:
    assert list(ModelsSettings.model_fields) == ["path"]
    assert "`models.path`" in (root / "docs" / "configuration.md").read_text(encoding="utf-8")
