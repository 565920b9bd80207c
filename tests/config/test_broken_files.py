"""Configurations that are broken as people break them, and word for word what ``streamcls check`` says of each.

Each NAME.toml in ``broken`` has a NAME.txt with the whole answer. FOLDER stands for a folder with a plain ``file`` and with ``models``,
some bundles that are broken. A text is right when somebody who has nothing else can mend the file from it: it says where, what is wrong,
and what to do instead. After a change of a message, ``python tests/config/test_broken_files.py`` writes the texts anew: read them.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from streamcls.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
BROKEN = Path(__file__).resolve().parent / "broken"
CASES = sorted(path.stem for path in BROKEN.glob("*.toml"))
CONFIGURATION = 78


def furnish(folder: Path) -> None:
    """Put into a folder what the cases refer to."""
    (folder / "file").write_text("no database, and no folder\n", encoding="utf-8")
    models = ROOT / "models"

    def bundle(name: str, old: str = "", new: str = "", model: bytes | None = None) -> None:
        place = folder / "models" / name
        shutil.copytree(models / "genre-cnn", place)
        if model is not None:
            (place / "model.tflite").write_bytes(model)
        if old:
            text, count = re.subn(old, new, (place / "bundle.toml").read_text(encoding="utf-8"))
            assert count == 1, old
            (place / "bundle.toml").write_text(text, encoding="utf-8")

    another = (models / "moderation-cnn" / "model.tflite").read_bytes()
    digest = hashlib.sha256(another).hexdigest()
    bundle("damaged", model=b"garbage")
    bundle("later", r"(?m)^format = 1$", "format = 2")
    bundle("mismatched", r"n_mfcc = \d+", "n_mfcc = 164")
    bundle("narrow", r"n_mfcc = \d+", "n_mfcc = 20")
    bundle("another", r'("model\.tflite" = |model\.tflite = )"[0-9a-f]{64}"', rf'\g<1>"{digest}"', model=another)


def said(name: str, folder: Path) -> str:
    """Run ``streamcls check`` on a case, see that it ends with status 78, and return what it says."""
    text = (BROKEN / f"{name}.toml").read_text(encoding="utf-8")
    (folder / f"{name}.toml").write_text(text.replace("FOLDER", str(folder)), encoding="utf-8")
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        main(["check", f"{name}.toml"])
    assert ended.value.code == CONFIGURATION, (name, out.getvalue())
    assert not out.getvalue()
    return err.getvalue().replace(str(folder), "FOLDER")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("broken").resolve()
    furnish(place)
    return place


def test_there_are_more_than_enough() -> None:
    assert len(CASES) >= 60
    assert {path.stem for path in BROKEN.glob("*.txt")} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_check_says_word_for_word(name: str, folder: Path) -> None:
    assert said(name, folder) == (BROKEN / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CASES)
def test_a_text_says_where_and_what_to_do(name: str) -> None:
    head, *lines = (BROKEN / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    assert head.endswith(("problem", "problems"))
    for line in lines:
        assert line.startswith((f"  {name}.toml: ", "  line ", "  file: ")), "it says where"
        assert re.search(r"\(.+\)$|expected |; |: (name|bind) | is missing$", line), "it says what to do"
        assert not re.search(r"\binput\b|tuple|dictionary|instance|NoneType|Traceback|Settings", line), (
            "in the file's words"
        )


def test_the_documentation_shows_what_is_said() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    said_somewhere = "".join(path.read_text(encoding="utf-8") for path in BROKEN.glob("*.txt"))
    shown = re.findall(r"^  line \d+: (.+)$", page, re.MULTILINE)
    assert len(shown) == 3
    assert [line for line in shown if f": {line}\n" not in said_somewhere] == []


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["check", str(tmp_path / "my.toml")])
    assert ended.value.code == CONFIGURATION
    expected = "cannot be read: No such file or directory (streamcls config --default prints one to begin with)"
    assert f"{tmp_path}/my.toml: {expected}" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "my.toml"
    path.touch(mode=0)
    with pytest.raises(SystemExit) as ended:
        main(["check", str(path)])
    assert ended.value.code == CONFIGURATION
    assert "my.toml: cannot be read: Permission denied (let the daemon's user read it" in capsys.readouterr().err


def test_a_file_of_another_encoding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "my.toml"
    path.write_bytes('# Fr\u00e9quence\n[[source]]\nname = "demo"\ntype = "demo"\n'.encode("latin-1"))
    with pytest.raises(SystemExit) as ended:
        main(["check", str(path)])
    assert ended.value.code == CONFIGURATION
    assert "my.toml: is not UTF-8: byte 4 is 0xe9 (line 1; save it as UTF-8)" in capsys.readouterr().err


def test_the_mark_that_some_editors_put_first_is_no_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "my.toml"
    path.write_bytes(b'\xef\xbb\xbf[[source]]\nname = "demo"\ntype = "demo"\n')
    with pytest.raises(SystemExit) as ended:
        main(["check", str(path)])
    assert (ended.value.code, "in order" in capsys.readouterr().out) == (0, True)


@pytest.mark.parametrize(
    ("module", "subscriber", "extra"),
    [
        ("httpx", 'type = "webhook"\nurl = "https://example.org/"', "webhook"),
        ("paho", 'type = "mqtt"\nhost = "localhost"', "mqtt"),
        ("prometheus_client", 'type = "prometheus"\nport = 9199', "prometheus"),
    ],
)
def test_an_extra_that_is_not_installed(  # noqa: PLR0917 - pytest passes them by name
    module: str,
    subscriber: str,
    extra: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # type: ignore[arg-type] - how Python itself notes that it cannot be imported
    path = tmp_path / "my.toml"
    path.write_text(f'[[source]]\nname = "demo"\ntype = "demo"\n\n[[subscriber]]\n{subscriber}\n', encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["check", str(path)])
    assert ended.value.code == CONFIGURATION
    told = capsys.readouterr().err
    assert f'line 5: subscriber[0] "{extra}": ' in told
    assert f"pip install 'streamcls[{extra}]'" in told


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary).resolve()
        furnish(place)
        for case in CASES:
            (BROKEN / f"{case}.txt").write_text(said(case, place), encoding="utf-8")
