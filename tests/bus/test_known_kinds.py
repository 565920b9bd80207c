"""A permission for some streams is spelt out with every kind that the daemon has."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from streamcls.bus.permissions import KINDS

if TYPE_CHECKING:
    from pathlib import Path


def test_every_kind_of_the_schema_is_known(root: Path) -> None:
    schema = json.loads((root / "streamcls" / "bus" / "events.schema.json").read_text(encoding="utf-8"))
    found = set()

    def walk(node: object) -> None:
        if isinstance(node, dict):
            constant = node.get("const")
            if isinstance(constant, str) and constant.startswith("streamcls."):
                found.add(constant.removeprefix("streamcls."))
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(schema)
    assert "genre.segment" in found
    assert found <= set(KINDS)
