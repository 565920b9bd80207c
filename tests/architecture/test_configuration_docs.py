"""Every key of the configuration stands in its documentation, with the default that is in force."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from streamcls.config.schema import (
    AuditSettings,
    BusSettings,
    DaemonSettings,
    EvidenceSettings,
    JournalSettings,
    ModelSettings,
    ModelsSettings,
    OverloadSettings,
    SecuritySettings,
    SilenceSettings,
    StreamSettings,
    SubscriberEntry,
)

if TYPE_CHECKING:
    from pathlib import Path

TABLES = {
    "[daemon]": DaemonSettings,
    "[overload]": OverloadSettings,
    "[bus]": BusSettings,
    "[journal]": JournalSettings,
    "[security]": SecuritySettings,
    "[evidence]": EvidenceSettings,
    "[audit]": AuditSettings,
    "[model.NAME]": ModelSettings,
    "[[stream]]": StreamSettings,
    "[[silence]]": SilenceSettings,
    "[[subscriber]]": SubscriberEntry,
}


@pytest.mark.parametrize("heading", TABLES)
def test_every_key_is_documented_with_its_default(heading: str, root: Path) -> None:
    text = (root / "docs" / "configuration.md").read_text(encoding="utf-8")
    section = text.partition(f"\n## `{heading}`")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    table = TABLES[heading]
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
