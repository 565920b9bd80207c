"""The limit of open files, in a process of its own, since a hard limit cannot be raised again."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
import resource
from streamcls.errors import StreamclsError
from streamcls.service.limits import allow_open_files
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
try:
    print(allow_open_files(200, 64), resource.getrlimit(resource.RLIMIT_NOFILE))
except StreamclsError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("soft", "hard", "said"),
    [
        (100, 500, "200 (200, 500)"),
        (100, 150, "150 (150, 150)"),
        (300, 500, "300 (300, 500)"),
        (32, 48, "only 48 files may be open at a time, expected at least 64"),
    ],
)
def test_the_limit_is_raised_as_far_as_it_may_and_too_low_a_one_is_said(soft: int, hard: int, said: str) -> None:
    command = [sys.executable, "-c", _PROGRAM.format(soft=soft, hard=hard)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.startswith(said)
