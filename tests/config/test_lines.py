from __future__ import annotations

import pytest

from streamcls.config.lines import with_lines
from streamcls.errors import ConfigError, Problem

TEXT = '''\
# a comment with [daemon] in it
[daemon]
name = "x"   # workers = 3
workers = 2

[[source]]
name = "fm"
type = "zmq"

[[source]]
type = "filetail"
name = "a.b"
path = """
[bus]
publish = 3
"""
[source.format]
sample_rate = 8000
[[source.logins]]
user = "a"
[[source.logins]]
user = "b"

[policy.moderation.labels.siren]
k = 3
[policy."odd name"]
enter = 2
[[subscriber]]
type = "jsonl"
bus.publish = 1
'''


@pytest.mark.parametrize(
    ("where", "what", "line"),
    [
        ("daemon", "unknown key 'workers'", 4),
        ("daemon.workers", "2: expected", 4),
        ("daemon.missing", "?", 2),
        ("daemon", "workers is 2, expected at most", 4),
        ('source[0] "fm"', "'path' is missing", 6),
        ('source[0] "fm".type', "?", 8),
        ('source "fm"', "tcp://… is taken", 6),
        ('source "a.b"', "?", 10),
        ('source "nobody"', "?", 6),
        ('source[1] "a.b".path', "?", 13),
        ('source[1] "a.b".format.sample_rate', "?", 18),
        ('source[1] "a.b".format', "unknown key 'sample_rat'", 17),
        ('source[1] "a.b".logins[1].user', "?", 22),
        ("policy.moderation.labels.siren", "k is 3, expected at most n", 25),
        ("policy.moderation", "labels names 'x'", 24),
        ("policy.odd name.enter", "?", 27),
        ('subscriber "jsonl"', "?", 28),
        ("subscriber[0].bus.publish", "?", 30),
        ("bus.publish", "?", None),
        ("bus.replay (beside bus.publish[0], as none is given)", "?", None),
        ("file", "unknown table [daemon]", 2),
        ("file", "?", None),
        ("stream[0].models", "?", None),
        ("", "", None),
    ],
)
def test_a_place_in_a_message_is_a_line_of_the_file(where: str, what: str, line: int | None) -> None:
    (found,) = with_lines([Problem(where, what, "hint")], TEXT)
    assert found.line == line
    assert (found.where, found.what, found.hint) == (where, what, "hint")


def test_the_line_stands_before_the_place() -> None:
    error = ConfigError(with_lines([Problem("daemon.workers", "2: no", "less")], TEXT), "my.toml")
    assert str(error) == "my.toml: 1 problem\n  line 4: daemon.workers: 2: no (less)"
    assert str(Problem("daemon.workers", "2: no")) == "daemon.workers: 2: no"


@pytest.mark.parametrize("text", ["", "[", "[[", "= 3", "a", "[]\n[[]]\n=", "'''\n[daemon]", "\x00[daemon]\nworkers"])
def test_what_is_no_configuration_has_no_lines(text: str) -> None:
    (found,) = with_lines([Problem("daemon.workers", "?")], text)
    assert found.line is None
