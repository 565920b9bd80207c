"""The quick ones of the faults in docs/faults.md, injected for real: what is asserted there must hold."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "faults"))

from faults import FAULTS, QUICK

if TYPE_CHECKING:
    from collections.abc import Callable

    from stage import Seen

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "faults.md"


@pytest.mark.parametrize("fault", QUICK, ids=lambda fault: fault.__name__)
def test_what_must_hold_in_a_fault_holds(fault: Callable[[Path], Seen], tmp_path: Path) -> None:
    seen = fault(tmp_path)
    assert seen.others
    assert seen.exits


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_every_fault_stands_in_the_table(fault: Callable[[Path], Seen]) -> None:
    assert f"| `{fault.__name__}` |" in PAGE.read_text("utf-8")
