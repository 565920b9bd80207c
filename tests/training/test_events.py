"""Evaluation by event: what counts as found, late, false or twice, and that it is the daemon's own word that counts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from streamcls.errors import TrainingError
from streamcls.training.corpora import Clip
from streamcls.training.events.broadcast import by_broadcast
from streamcls.training.events.genre import GenreSegment, genre_figures, genre_segments_of
from streamcls.training.events.intervals import percentiles, poisson_interval, rate, wilson_interval
from streamcls.training.events.matching import Alert, Bed, alert_figures, alerts_of, match
from streamcls.training.events.measure import evaluate_programme, figures_of, hear, sources_in_training
from streamcls.training.events.report import markdown_of_events, markdown_of_sweep
from streamcls.training.events.sweep import choose_thresholds, replay, sweep, threshold_grid
from streamcls.training.programme.files import BedSegment, Programme, TrueEvent, read_programme
from streamcls.training.programme.plan import SAMPLE_RATE
from streamcls.training.programme.render import Writer
from streamcls.types import Event

TRUTH = [
    TrueEvent(10.0, 12.0, "siren", "a", "A", -1.0),
    TrueEvent(40.0, 42.0, "siren", "b", "B", 10.0),
    TrueEvent(70.0, 71.0, "gun_shot", "c", "C", 4.0),
]
BED = [
    BedSegment(0.0, 30.0, "music", "jazz", "j"),
    BedSegment(30.0, 60.0, "speech", "", ""),
    BedSegment(60.0, 100.0, "music", "rock", "r"),
]


def alert(opened: float, label: str = "siren", end: float | None = None) -> Alert:
    return Alert(label, opened, opened - 1.0, opened + 2.0 if end is None else end)


@pytest.mark.parametrize(
    ("opened", "found"),
    [(9.4, False), (9.5, True), (11.0, True), (14.0, True), (14.1, False), (25.0, False)],
)
def test_an_alert_counts_from_shortly_before_the_onset_to_shortly_after_the_end(opened, found):
    result = match(TRUTH, [alert(opened)], "siren")
    assert (0 in result.delays) is found
    assert len(result.false) == (not found)
    if found:
        assert result.delays[0] == pytest.approx(opened - 10.0)


def test_the_first_alert_counts_and_the_next_is_a_duplicate_and_neither_is_false():
    result = match(TRUTH, [alert(13.0), alert(11.0)], "siren")
    assert result.delays == {0: pytest.approx(1.0)}
    assert [a.opened_s for a in result.duplicates] == [13.0]
    assert not result.false


def test_an_alert_of_another_label_finds_nothing():
    assert match(TRUTH, [alert(11.0, "gun_shot")], "siren").delays == {}
    assert len(match(TRUTH, [alert(11.0, "gun_shot")], "gun_shot").false) == 1


def test_one_alert_finds_one_event_even_where_two_would_fit():
    close = [TrueEvent(10.0, 11.0, "siren", "a", "A", 0.0), TrueEvent(11.5, 12.0, "siren", "b", "B", 0.0)]
    assert set(match(close, [alert(12.0)], "siren").delays) == {0}
    assert set(match(close, [alert(12.0), alert(12.5)], "siren").delays) == {0, 1}


def test_an_event_under_an_alert_that_was_open_already_is_missed_and_said_to_be_covered():
    result = match(TRUTH, [alert(30.0, end=45.0)], "siren")
    assert result.delays == {}
    assert result.covered == [1]
    assert len(result.false) == 1


def test_an_alert_soon_after_an_event_is_false_and_stated():
    result = match(TRUTH, [alert(17.0), alert(29.0)], "siren")
    assert [a.opened_s for a in result.false] == [17.0, 29.0]
    assert [a.opened_s for a in result.continuations] == [17.0]


def test_the_figures_of_a_label():
    alerts = [alert(11.0), alert(12.5), alert(20.0), alert(90.0), alert(91.0, "gun_shot")]
    figures = alert_figures(TRUTH, alerts, "siren", Bed(BED), 2.0)
    assert (figures["events"], figures["found"], figures["recall"], figures["recordings"]) == (2, 1, 0.5, 2)
    assert (figures["false_alerts"], figures["duplicates"]) == (2, 1)
    assert figures["false_alerts_per_hour"] == 1.0
    assert figures["precision"] == pytest.approx(1 / 3, abs=1e-4)
    assert figures["time_to_alert_s"] == {"median": 1.0, "p90": 1.0}
    assert [(part["from_db"], part["recall"]) for part in figures["by_snr"]] == [(-3.0, 1.0), (9.0, 0.0)]
    assert figures["by_bed"] == {"music": {"events": 1, "recall": 1.0}, "speech": {"events": 1, "recall": 0.0}}
    assert {kind: part["false_alerts"] for kind, part in figures["false_by_bed"].items()} == {"music": 2, "speech": 0}
    assert figures["false_from"] == {"music/jazz": 1, "music/rock": 1}


def test_the_stages_of_the_chains_share_their_events_and_false_alerts():
    chain = [{"stage": "codec", "codec": "mp3", "kbit_s": 32}, {"stage": "gain", "gain_db": 3.0}]
    stretches = [{"start_s": 0.0, "end_s": 36.0, "chain": chain}, {"start_s": 36.0, "end_s": 100.0, "chain": None}]
    rows = by_broadcast(TRUTH, [alert(11.0), alert(90.0)], ["gun_shot", "siren"], stretches)
    assert set(rows) == {"codec mp3", "gain", "nothing"}
    assert (rows["gain"]["events"], rows["gain"]["recall"], rows["gain"]["false_alerts"]) == (1, 1.0, 0)
    assert (rows["nothing"]["events"], rows["nothing"]["recall"], rows["nothing"]["false_alerts"]) == (2, 0.0, 1)
    assert rows["codec mp3"]["hours"] == 0.01


@pytest.mark.parametrize(
    ("count", "low", "high"), [(0, 0.0, 3.69), (1, 0.03, 5.57), (10, 4.80, 18.39), (100, 81.36, 121.63)]
)
def test_the_poisson_interval_is_the_exact_one(count, low, high):
    from scipy.stats import poisson

    bounds = poisson_interval(count, 1.0)
    assert bounds == pytest.approx([low, high], abs=6e-3)
    assert poisson.cdf(count, bounds[1]) == pytest.approx(0.025, abs=1e-4)
    assert count == 0 or poisson.sf(count - 1, bounds[0]) == pytest.approx(0.025, abs=1e-4)
    assert poisson_interval(count, 4.0) == pytest.approx([low / 4, high / 4], abs=2e-3)
    assert poisson_interval(count, 0.0) is None


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [(0, 10, 0.0, 0.2775), (9, 10, 0.5958, 0.9821), (50, 100, 0.4038, 0.5962), (10, 10, 0.7225, 1.0)],
)
def test_the_wilson_interval_is_the_known_one(hits, count, low, high):
    assert wilson_interval(hits, count) == pytest.approx([low, high], abs=1e-4)


def test_nothing_has_no_figures():
    assert wilson_interval(0, 0) is None
    assert rate(1, 0) is None
    assert percentiles([]) is None


def phase(kind: str, what: str, label: str, span: tuple[float, float], at: float) -> Event:
    first, end = span
    data = {
        "id": kind,
        "phase": what,
        "label": label,
        "first_sample": round(first * 100),
        "end_sample": round(end * 100),
        "sample_rate": 100,
    }
    return Event(kind, "s", data, sample=round(at * 100))


def test_the_phases_of_a_finding_are_gathered():
    events = [
        phase("moderation.alert", "opened", "siren", (1.0, 2.0), 2.0),
        phase("genre.segment", "opened", "jazz", (0.0, 4.0), 4.0),
        phase("moderation.alert", "closed", "siren", (1.0, 9.0), 14.0),
        phase("genre.segment", "closed", "jazz", (0.0, 30.0), 34.0),
    ]
    assert alerts_of(events) == [Alert("siren", 2.0, 1.0, 9.0)]
    assert genre_segments_of(events) == [GenreSegment("jazz", 0.0, 30.0, 4.0)]


def test_the_time_of_each_genre_is_shared_out():
    segments = [
        GenreSegment("jazz", 0.0, 24.0, 5.0),
        GenreSegment("unsure", 24.0, 33.0, 28.0),
        GenreSegment("jazz", 33.0, 36.0, 37.0),
        GenreSegment("blues", 60.0, 70.0, 66.0),
        GenreSegment("rock", 70.0, 100.0, 75.0),
    ]
    figures = genre_figures(BED, segments, ("jazz", "rock", "blues"), 100.0)
    assert (figures["right"], figures["wrong"], figures["unsure"]) == pytest.approx(
        (54 / 70, 10 / 70, 6 / 70), abs=1e-3
    )
    assert figures["by_genre"]["rock"]["mostly_called"] == {"blues": 0.25}
    assert figures["called_a_genre"] == {"speech": {"hours": 0.008, "share": 0.1}}
    assert figures["after_a_change"]["time_to_genre_s"] == {"median": 10.0, "p90": 14.0}
    assert figures["after_a_change"]["reached"] == 2
    assert figures["segments_per_hour"] == 4 * 36.0


def test_music_of_a_genre_that_the_model_lacks_is_counted_by_itself():
    figures = genre_figures(BED, [GenreSegment("jazz", 0.0, 100.0, 4.0)], ("jazz",), 100.0)
    assert figures["right"] == 1.0
    assert figures["called_a_genre"]["music of another genre"]["share"] == 1.0
    assert set(figures["by_genre"]) == {"jazz"}


def test_the_lowest_threshold_that_keeps_the_rate_is_chosen():
    rows = [(0.2, 9.0), (0.4, 0.4), (0.6, 2.0), (0.8, 0.5), (0.9, 0.0)]
    swept = {"siren": [{"threshold": t, "false_alerts_per_hour": r} for t, r in rows]}
    assert choose_thresholds(swept, 0.5) == {"siren": 0.8}
    assert choose_thresholds(swept, 2.0) == {"siren": 0.4}
    assert choose_thresholds({"siren": swept["siren"][:1]}, 0.5) == {"siren": 0.2}


def test_the_grid_of_thresholds_rises_within_0_and_1():
    grid = threshold_grid()
    assert grid == sorted(set(grid))
    assert 0 < grid[0] < 0.01
    assert 0.999 <= grid[-1] < 1


@pytest.fixture(scope="module")
def programme(tmp_path_factory) -> Programme:
    """Forty seconds: chords, a wailing tone from 20.0 to 24.0 s, and the chords again."""
    folder = tmp_path_factory.mktemp("programme")
    time = np.arange(40 * SAMPLE_RATE) / SAMPLE_RATE
    signal = sum(0.05 * np.sin(2 * np.pi * hertz * time) for hertz in (220.0, 277.2, 329.6)) * (
        1 + np.sin(4 * np.pi * time)
    )
    wail = 0.3 * np.sin(2 * np.pi * (900 * time + 100 * np.sin(2 * np.pi * 1.5 * time)))
    signal[20 * SAMPLE_RATE : 24 * SAMPLE_RATE] += wail[: 4 * SAMPLE_RATE]
    writer = Writer(folder, file_samples=15 * SAMPLE_RATE)
    writer.write(signal.astype(np.float32))
    writer.close()
    facts = {
        "format": 1,
        "recipe": {"name": "by hand", "version": "1", "labels": ["siren", "music"]},
        "options": {"split": "test", "seed": 0},
        "sample_rate": SAMPLE_RATE,
        "audio": [{"file": n, "samples": s, "sha256": ""} for n, s in zip(writer.names, writer.lengths, strict=True)],
        "material": {
            "event": {
                "distinct_hours": 0.001,
                "clips": 1,
                "recordings": 1,
                "labels": {"siren": {"distinct_hours": 0.001}},
            }
        },
        "stretches": [{"start_s": 0.0, "end_s": 40.0, "chain": None}],
        "sources": [{"path": "w.wav", "group": "G"}, {"path": "c.wav", "group": "H"}],
    }
    (folder / "programme.json").write_text(json.dumps(facts))
    (folder / "truth.csv").write_text("onset_s,end_s,label,clip,group,snr_db\n20.0,24.0,siren,w.wav,G,6\n")
    (folder / "bed.csv").write_text("start_s,end_s,kind,label,clip\n0.0,40.0,music,jazz,c.wav\n")
    return read_programme(folder)


@pytest.fixture(scope="module")
def bundle() -> Path:
    return Path(__file__).resolve().parents[2] / "models" / "moderation-cnn"


@pytest.fixture(scope="module")
def eager() -> dict:
    """Rules that any sound may meet, so that there are alerts whatever the model thinks of a synthetic one."""
    return {"moderation": {"labels": {"siren": {"enter": 0.002, "k": 1, "n": 2}, "gun_shot": {"enter": 0.3}}}}


@pytest.fixture(scope="module")
def heard(programme, bundle, eager):
    return hear(bundle, programme, policy_options=eager)


def test_what_is_heard_is_what_the_daemon_would_say(heard, programme, bundle, tmp_path):
    from streamcls.daemon import prepare_file
    from streamcls.plugins import discover
    from streamcls.runtime.models import plan_stream
    from streamcls.runtime.offline import OfflinePool, classify_chunks

    config = tmp_path / "streamcls.toml"
    config.write_text(f"""
        [[source]]
        name = "demo"
        type = "demo"
        [[stream]]
        models = ["it"]
        policies = ["genre", "moderation"]
        [model.it]
        bundle = "{bundle}"
        [policy.moderation.labels.siren]
        enter = 0.002
        k = 1
        n = 2
        [policy.moderation.labels.gun_shot]
        enter = 0.3
    """)
    prepared = prepare_file(config, discover())
    plan = plan_stream(prepared.resolved, prepared.models, "programme")
    pool = OfflinePool()
    events = list(classify_chunks("programme", programme.chunks("programme"), plan, pool))
    pool.close()
    assert alerts_of(heard.events) == alerts_of(events)
    assert alerts_of(events)
    windows = [event for event in events if event.kind == "moderation.window"]
    assert [event.data["end_sample"] for event in windows] == [posterior.end_sample for posterior in heard.posteriors]


def test_running_the_policy_again_gives_the_same_alerts(heard):
    assert replay(heard, {}) == alerts_of(heard.events)


def test_lower_thresholds_never_lose_the_first_alert_and_end_in_one_that_is_always_open(programme, bundle):
    heard = hear(bundle, programme)
    swept = sweep(heard, ["siren"], [0.0, 0.5, 1.0])["siren"]
    assert [row["threshold"] for row in swept] == [0.0, 0.5, 1.0]
    assert swept[-1]["recall"] == 0.0
    (only,) = replay(heard, {"siren": 0.0, "gun_shot": 1.0, "glass_breaking": 1.0, "crying_baby": 1.0})
    assert only.opened_s < 5.0
    assert only.end_s > 39.0
    assert swept[0]["false_alerts"] == 1


def test_the_whole_evaluation_is_json_and_markdown(heard, programme, bundle, eager):
    clips = [
        Clip(Path("w.wav"), "c", ("siren",), (), "wail", "G", "train"),
        Clip(Path("d.wav"), "c", (), (), "", "H", "test"),
    ]
    figures = evaluate_programme(bundle, programme.folder, policy_options=eager, clips=clips)
    assert json.loads(json.dumps(figures)) == figures
    assert {key: figures[key] for key in figures if key != "sources_in_training"} == figures_of(heard)
    assert figures["sources_in_training"] == {"sources": 2, "in_training": 1, "first": ["w.wav"]}
    assert figures["alerts"]["siren"]["events"] == 1
    assert figures["alerts"]["siren"]["threshold"] == 0.002
    assert figures["alerts"]["siren"]["distinct_hours"] == 0.001
    assert figures["speech_or_music"]["windows"] > 50
    text = markdown_of_events(figures)
    assert "| siren |" in text
    assert "1 were in the model's training split" in text
    table = markdown_of_sweep(sweep(heard, ["siren"], [0.5]))
    assert "| siren | 0.5000 |" in table


def test_a_genre_bundle_is_measured_by_its_segments(programme, bundle):
    figures = evaluate_programme(bundle.with_name("genre-cnn"), programme.folder)
    assert "alerts" not in figures
    genre = figures["genre"]
    assert genre["right"] + genre["wrong"] + genre["unsure"] == pytest.approx(1.0, abs=2e-4)
    assert genre["music_hours"] == pytest.approx(40 / 3_600, abs=1e-3)
    assert "| jazz |" in markdown_of_events(figures)


def test_sources_are_in_training_by_their_recording_too(programme):
    other_slice = Clip(Path("other.wav"), "c", (), (), "", "H", "train")
    assert sources_in_training(programme, [other_slice])["first"] == ["c.wav"]
    assert sources_in_training(programme, [])["in_training"] == 0


def test_what_cannot_be_measured_is_said(programme, bundle, heard):
    with pytest.raises(TrainingError, match="no backend"):
        hear(bundle, programme, backend="none")
    with pytest.raises(TrainingError, match=r"policy\.moderation"):
        hear(bundle, programme, policy_options={"moderation": {"labls": {}}})
    with pytest.raises(TrainingError, match="no policy listens"):
        hear(bundle, programme, policy_options={"moderation": {"models": ["another"]}})
    with pytest.raises(TrainingError, match="does not listen"):
        replay(hear(bundle.with_name("genre-cnn"), programme), {})
