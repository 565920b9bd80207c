from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from streamcls.cli.audit import audit
from streamcls.service.audit import AuditLog, is_audited
from streamcls.testing import example_envelopes

if TYPE_CHECKING:
    from pathlib import Path


RECORDED = sum(is_audited(event["type"].removeprefix("streamcls.")) for event in example_envelopes())


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log with the examples of the wire format, where the state folder has it."""
    path = tmp_path / "audit.jsonl"
    made = AuditLog(path, configuration="c0" * 32)
    for event in example_envelopes():
        made.handle(event)
    made.close()
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(audit, [str(argument) for argument in arguments], standalone_mode=False)


def last_of(path: Path) -> str:
    return str(json.loads(path.read_text("utf-8").splitlines()[-1])["hash"])


def test_a_sound_log_is_said_to_be_sound_with_its_last_hash(log: Path) -> None:
    result = run("verify", log)
    assert result.return_value == 0
    assert f"{RECORDED + 1} records in 1 files, {RECORDED} of them events" in result.output
    assert f"last record {RECORDED + 1}, hash {last_of(log)}" in result.output
    assert result.output.endswith("no fault\n")


def test_a_changed_byte_is_named_and_the_exit_status_says_it(log: Path) -> None:
    log.write_bytes(log.read_bytes().replace(b'"phase":"updated"', b'"phase":"updatet"', 1))
    result = run("verify", log)
    assert result.return_value == 1
    assert "audit.jsonl line 3: record 3 has been changed" in result.output
    assert result.output.endswith("1 faults\n")


def test_a_last_record_that_breaks_off_has_no_hash_to_note(log: Path) -> None:
    log.write_bytes(log.read_bytes()[:-40])
    result = run("verify", log)
    assert result.return_value == 1
    assert f"last record {RECORDED + 1}, hash of which cannot be read" in result.output


def test_an_end_that_was_cut_off_shows_against_what_was_noted(log: Path) -> None:
    noted = last_of(log)
    assert run("verify", log, "--last", noted, "--count", RECORDED + 1).return_value == 0
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))
    assert run("verify", log).return_value == 0
    result = run("verify", log, "--last", noted, "--count", RECORDED + 1)
    assert result.return_value == 1
    assert f"no record has the hash {noted}" in result.output
    assert f"the last record is number {RECORDED}, expected {RECORDED + 1} or more" in result.output


def test_clips_are_compared_where_a_folder_is_given(log: Path, tmp_path: Path) -> None:
    """The example's clip was removed for its age, which is recorded as well."""
    (tmp_path / "evidence").mkdir()
    result = run("verify", log, "--evidence", tmp_path / "evidence")
    assert result.return_value == 0
    assert "0 of 1 clips are as they were recorded, 1 removed" in result.output


def test_log_and_clips_are_found_by_the_configuration(log: Path, tmp_path: Path) -> None:
    config = tmp_path / "streamcls.toml"
    config.write_text(f'[daemon]\nstate_dir = "{tmp_path}"\n[[source]]\nname = "a"\ntype = "demo"\n', encoding="utf-8")
    clip = tmp_path / "evidence" / "radio-1" / "2026-01-01" / "stray.flac"
    clip.parent.mkdir(parents=True)
    clip.write_bytes(b"x")
    result = run("verify", "--config", config)
    assert result.return_value == 0, result.output
    assert str(log) in result.output
    assert "stray.flac: no record tells of this clip" in result.output


def test_records_are_shown_one_a_line_and_can_be_chosen(log: Path) -> None:
    lines = run("show", log).output.splitlines()
    assert len(lines) == RECORDED + 1
    assert lines[0].split()[2:] == ["begin"]
    assert "moderation.alert" in lines[1]
    assert "opened" in lines[1]
    assert "siren" in lines[1]
    chosen = run("show", log, "--kind", "moderation.evidence", "--stream", "radio-*").output.splitlines()
    assert len(chosen) == 1
    assert run("show", log, "--stream", "tv-*").output == ""


def test_records_are_shown_as_they_are_in_the_file(log: Path) -> None:
    lines = run("show", log, "--json").output.splitlines()
    assert [json.loads(line) for line in lines] == [json.loads(line) for line in log.read_text("utf-8").splitlines()]
