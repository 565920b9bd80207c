"""Where ``make install`` puts its files."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("etc", ["/etc", "/srv/etc"])
def test_everything_lies_under_the_two_places_that_were_named(root: Path, tmp_path: Path, etc: str) -> None:
    environment = {**os.environ, "DESTDIR": str(tmp_path), "PREFIX": "/srv/streamcls", "SYSCONFDIR": etc}
    for name in ("UNITS", "FRAGMENTS"):
        environment.pop(name, None)
    subprocess.run([root / "scripts" / "install-files"], check=True, env=environment)
    placed = {f"/{file.relative_to(tmp_path)}" for file in tmp_path.rglob("*") if file.is_file()}
    beside = {name for name in placed if not name.startswith("/srv/streamcls/share/")}
    assert beside == {
        f"{etc}/streamcls/streamcls.toml",
        f"{etc}/systemd/system/streamcls.service",
        f"{etc}/systemd/system/streamcls@.service",
        f"{etc}/sysusers.d/streamcls.conf",
        f"{etc}/tmpfiles.d/streamcls.conf",  # noqa: S108 - a part of a path
    }
    unit = (tmp_path / etc.lstrip("/") / "systemd/system/streamcls.service").read_text("utf-8")
    assert f"ExecStart=/srv/streamcls/bin/streamcls run {etc}/streamcls/streamcls.toml" in unit


def test_a_configuration_that_is_there_is_not_touched(root: Path, tmp_path: Path) -> None:
    configuration = tmp_path / "etc/streamcls/streamcls.toml"
    configuration.parent.mkdir(parents=True)
    configuration.write_text("# mine\n", "utf-8")
    environment = {**os.environ, "DESTDIR": str(tmp_path)}
    subprocess.run([root / "scripts" / "install-files"], check=True, env=environment)
    assert configuration.read_text("utf-8") == "# mine\n"
