"""``streamcls reload``: what it prints, and its exit statuses, with a control socket that answers as a daemon would."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from streamcls.cli.main import cli
from streamcls.daemon.reload import outcome
from streamcls.errors import StreamclsError
from streamcls.service.control import ControlServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    Answer = Callable[[Mapping[str, Any]], Mapping[str, Any]]

NOTHING: dict[str, list[str]] = {"added": [], "changed": [], "removed": []}


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[dict[str, Any], int], list[str]]]:
    """Answer with an outcome after so many looks that find none; returns the options that find it."""
    with contextlib.ExitStack() as stack:

        def served(data: dict[str, Any], looks: int = 0) -> list[str]:
            left = [looks]

            def look(request: Mapping[str, Any]) -> Mapping[str, Any]:
                if request["ticket"] != 7:
                    raise StreamclsError("another ticket")
                left[0] -= 1
                return {"done": False} if left[0] >= 0 else {"done": True, "took_s": 0.61, **data}

            operations: dict[str, Answer] = {"reload": lambda _: {"ticket": 7}, "reloaded": look}
            server = ControlServer(tmp_path / "c.sock", operations)
            server.start()
            stack.callback(server.close)
            return ["--socket", str(server.path)]

        yield served


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, ["reload", *arguments], standalone_mode=False)
    assert result.exception is None, result.exception
    return result.return_value, result.stdout, result.stderr


def test_it_waits_for_the_outcome_and_says_what_was_done(serve: Any) -> None:
    data = outcome(
        "applied",
        "the new configuration is in force",
        sources={"added": ["b", "c"], "changed": [], "removed": ["a"]},
        models=NOTHING | {"changed": ["genre-cnn"]},
        streams={"changed": ["d"], "ended": []},
        settings=["silence"],
        waiting=["bus.publish"],
        problems=["source x: it cannot be made; see the log"],
    )
    code, out, err = run(*serve(data, 3))
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "applied: the new configuration is in force (0.6 s)",
        "  sources: b, c added; a removed",
        "  models: genre-cnn changed",
        "  streams: d changed",
        "  settings: silence",
        "  PROBLEM source x: it cannot be made; see the log",
        "  waiting for a restart: bus.publish",
    ]


def test_nothing_to_do_is_no_failure(serve: Any) -> None:
    assert run(*serve(outcome("unchanged", "nothing has changed"))) == (
        0,
        "unchanged: nothing has changed (0.6 s)\n",
        "",
    )


def test_what_was_refused_is_shown_with_every_problem_and_fails(serve: Any) -> None:
    data = outcome("refused", "my.toml: 2 problems", problems=["source: none", 'policy.x: unknown (did you mean "y"?)'])
    code, out, err = run(*serve(data))
    assert (code, out) == (1, "")
    assert err.splitlines() == [
        "refused: my.toml: 2 problems",
        "  source: none",
        '  policy.x: unknown (did you mean "y"?)',
    ]


def test_json_is_all_of_it(serve: Any) -> None:
    data = outcome("refused", "my.toml: 1 problem", problems=["source: none"])
    code, out, _ = run("--json", *serve(data))
    assert code == 1
    assert json.loads(out) == {"done": True, "took_s": 0.61, **data}


def test_a_reload_that_does_not_end_in_time_is_a_failure(serve: Any) -> None:
    code, out, err = run("--timeout", "0", *serve(outcome("applied", "late"), 1_000))
    assert (code, out) == (1, "")
    assert "has not ended within 0 s" in err


def test_no_daemon_is_told_by_its_own_exit_status(tmp_path: Path) -> None:
    code, _, err = run("--state-dir", str(tmp_path))
    assert code == 3
    assert "no daemon runs here" in err
