"""The daemon's configuration as a few settings that reloads turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Knobs", "Places", "rendered"]

RULES: Final = ("gun_shot", "explosion", "siren", "glass_breaking", "crying_baby", "screaming")
_SWAPPED: Final = {
    "a": ("genre-cnn", "moderation-cnn"),
    "b": ("genre-lstm", "moderation-crnn"),
}


@dataclass(frozen=True, slots=True)
class Places:
    """What does not change in a run.

    Attributes
    ----------
    folder
        Where everything lies.
    models
        The folder of bundles; two copies of it lie under ``folder`` as ``models-a`` and ``models-b``.
    publish, ingest, air, late, prometheus
        TCP ports.
    webhook
        URL that alerts are posted to.
    """

    folder: Path
    models: Path
    publish: int
    ingest: int
    air: int
    late: int
    prometheus: int
    webhook: str
    tails: int
    journal_mb: int
    workers: int = 2


@dataclass(frozen=True, slots=True)
class Knobs:
    """What reloads change. The defaults are the configuration with which a run begins and ends."""

    round: int = 0
    rule_priority: int = 0
    rule_genre: bool = True
    clip_evidence: bool = True
    loose_enter: float = 0.7
    loose_smooth_s: float = 4.0
    swapped: str = "a"
    copy: str = "a"
    stride_s: float = 1.0
    extra_file: bool = False
    extra_programme: bool = False
    extra_subscriber: bool = False
    late: bool = True
    late_max_streams: int = 20
    tail_chunk_s: float = 0.2
    webhook_timeout_s: float = 10.0
    stale_s: float = 60.0
    busy_s: float = 5.0
    sync: bool = False


_HEAD: Final = """\
[daemon]
name = "soak"
state_dir = "{folder}/state"
workers = {workers}
buffer_s = 8.0
heartbeat_s = 5.0

[bus]
publish = ["tcp://127.0.0.1:{publish}"]

[journal]
durability = "process"
max_mb = {journal_mb}

[evidence]
capture_s = 5.0
pre_s = 1.0
post_s = 1.0
max_clip_s = 6.0
max_mb = 10

[models]
path = ["{models}"]

[model.genre]
bundle = "{models}/genre-cnn"
stride_s = 2.0

[model.moderation]
bundle = "{models}/moderation-cnn"
stride_s = 1.0

[model.light]
bundle = "{models}/moderation-cnn"
stride_s = 2.0
"""
_POLICIES: Final = """
[policy.genre]
window_events = false

[policy.moderation]
window_events = false
{rules}
[policy.steady-genre]
type = "genre"
window_events = false

[policy.steady]
type = "moderation"
window_events = false
{rules}
[policy.loose-genre]
type = "genre"
window_events = false
smooth_s = {smooth_s}

[policy.loose]
type = "moderation"
window_events = false
{loose_rules}
[policy.air]
type = "moderation"
{rules}"""
_RULE: Final = "labels.{label} = {{ enter = {enter}, k = 2, n = 3, cool_down_s = 3.0 }}\n"


def rendered(places: Places, knobs: Knobs) -> str:
    """Return the configuration as TOML."""
    models, folder = places.models, places.folder
    head = _HEAD.format(
        folder=folder, models=models, publish=places.publish, journal_mb=places.journal_mb, workers=places.workers
    )
    genre, moderation = _SWAPPED[knobs.swapped]
    more = f'\n[model.swap-genre]\nbundle = "{models}/{genre}"\nstride_s = 2.0\n'
    more += f'\n[model.swap-moderation]\nbundle = "{models}/{moderation}"\nstride_s = {knobs.stride_s}\n'
    more += f'\n[model.copied]\nbundle = "{folder}/models-{knobs.copy}/moderation-cnn"\nstride_s = 1.0\n'
    policies = _POLICIES.format(rules=_rules(0.8), loose_rules=_rules(knobs.loose_enter), smooth_s=knobs.loose_smooth_s)
    return head + more + policies + _streams(knobs) + _sources(places, knobs) + _subscribers(places, knobs)


def _rules(enter: float) -> str:
    return "".join(_RULE.format(label=label, enter=enter) for label in RULES)


def _stream(match: str, models: str, policies: str, more: str = "") -> str:
    return f'\n[[stream]]\nmatch = "{match}"\nmodels = [{models}]\npolicies = [{policies}]\n{more}'


def _streams(knobs: Knobs) -> str:
    both, usual = '"genre", "moderation"', '"genre", "moderation"'
    rule_models = both if knobs.rule_genre else '"moderation"'
    rule_more = f'priority = {knobs.rule_priority}\ntags = {{ round = "{knobs.round}" }}\n'
    return (
        _stream("steady-*", '"genre-cnn", "moderation-cnn"', '"steady-genre", "steady"')
        + _stream("rule-*", rule_models, usual, rule_more)
        + _stream("loose-*", both, '"loose-genre", "loose"')
        + _stream("swap-*", '"swap-genre", "swap-moderation"', usual)
        + _stream("copy-*", '"genre", "copied"', usual)
        + _stream("clip-*", both, usual, f"evidence = {str(knobs.clip_evidence).lower()}\n")
        + _stream("air-*", both, '"genre", "air"', "evidence = true\npriority = 10\n")
        + _stream("plain-*", '"light"', '"moderation"')
        + _stream("bare-*", "", "")
        + _stream("*", both, usual)
    )


def _sources(places: Places, knobs: Knobs) -> str:
    text = ""
    ports = [
        ("ingest", places.ingest, "live = false\nreorder_s = 10.0\nreceive_hwm = 40\nidle_s = 120.0\n"),
        ("air", places.air, ""),
    ]
    if knobs.late:
        ports.append(("late", places.late, f"max_streams = {knobs.late_max_streams}\n"))
    for name, port, more in ports:
        text += f'\n[[source]]\nname = "{name}"\ntype = "zmq"\nbind = "tcp://127.0.0.1:{port}"\n{more}'
    for number in range(places.tails):
        chunk_s = knobs.tail_chunk_s if number == 0 else 0.2
        start = "resume" if number % 2 == 0 else "beginning"
        text += _file(f"tail-{number}", f"{places.folder}/tail-{number}.raw", start, f"chunk_s = {chunk_s}\n")
    if knobs.extra_file:
        text += _file("extra", f"{places.folder}/extra.raw", "beginning", 'pace = "realtime"\n')
    if knobs.extra_programme:
        text += '\n[[source]]\nname = "programme"\ntype = "demo"\n'
    return text


def _file(name: str, path: str, start: str, more: str) -> str:
    return (
        f'\n[[source]]\nname = "{name}"\ntype = "filetail"\npath = "{path}"\nstart = "{start}"\n'
        f"format = {{ sample_rate = 22050 }}\n{more}"
    )


def _subscribers(places: Places, knobs: Knobs) -> str:
    folder = places.folder
    kinds = 'kinds = ["genre.segment", "moderation.alert", "moderation.evidence", "stream.status", "daemon."]\n'
    text = (
        f'\n[[subscriber]]\ntype = "jsonl"\npath = "{folder}/events.jsonl"\nsync = {str(knobs.sync).lower()}\n'
        'kinds = ["moderation.alert"]\n'
        f'\n[[subscriber]]\ntype = "sqlite"\npath = "{folder}/store.db"\nbusy_s = {knobs.busy_s}\n'
        f'durability = "process"\n{kinds}'
        f'\n[[subscriber]]\ntype = "prometheus"\nport = {places.prometheus}\nstale_s = {knobs.stale_s}\n'
        f'\n[[subscriber]]\ntype = "webhook"\nurl = "{places.webhook}"\nspool = "{folder}/spool"\nsync = false\n'
        f'kinds = ["moderation.alert"]\nstreams = ["steady-*"]\ntimeout_s = {knobs.webhook_timeout_s}\n'
    )
    if knobs.extra_subscriber:
        text += (
            f'\n[[subscriber]]\ntype = "jsonl"\nname = "spare"\npath = "{folder}/spare.jsonl"\n'
            'kinds = ["moderation.alert"]\nstreams = ["air-*"]\n'
        )
    return text
