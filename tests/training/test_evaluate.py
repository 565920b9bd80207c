"""The evaluation of the shipped bundles on a few real clips, without TensorFlow."""

from __future__ import annotations

from streamcls.inference import load_bundle
from streamcls.training.corpora import read_plain
from streamcls.training.evaluate import evaluate
from streamcls.training.report import markdown
from streamcls_tflite import LiteRtBackend


def measured(root, data, tmp_path, name: str, *rows: str):
    manifest = tmp_path / "some.csv"
    manifest.write_text("\n".join(["path,label", *(f"{data}/{row}" for row in rows)]) + "\n")
    bundle = load_bundle(root / "models" / name)
    classifier = LiteRtBackend().load(bundle)
    result = evaluate(bundle, classifier, read_plain(manifest, bundle.labels), tmp_path / "cache", "all")
    classifier.close()
    return result


def test_exclusive_labels_give_windows_clips_and_a_confusion_matrix(root, data, tmp_path):
    rows = [f"gtzan_full30/{genre}/{genre}.0000{i}.ogg,{genre}" for genre in ("classical", "metal") for i in range(2)]
    result = measured(root, data, tmp_path, "genre-cnn", *rows)
    figures = result.figures
    assert (figures["clip"]["count"], figures["window"]["count"]) == (4, 4 * 27)
    assert sum(map(sum, figures["clip"]["confusion"])) == 4
    assert figures["window"]["per_label"]["metal"]["count"] == 2 * 27
    assert figures["window"]["per_label"]["jazz"]["recall"] is None
    assert (
        0
        <= figures["window"]["accuracy_95"][0]
        <= figures["window"]["accuracy"]
        <= figures["window"]["accuracy_95"][1]
        <= 1
    )
    text = markdown(result)
    assert "| clip | 4 |" in text
    assert "| metal |" in text


def test_independent_labels_give_figures_per_label(root, data, tmp_path):
    siren = sorted((data / "urbansound8k" / "siren").glob("*.ogg"))[:3]
    rows = [f"urbansound8k/siren/{path.name},siren" for path in siren]
    rows += [
        f"gtzan_music_speech/music/{path.name},music"
        for path in sorted((data / "gtzan_music_speech" / "music").glob("*.ogg"))[:2]
    ]
    result = measured(root, data, tmp_path, "moderation-cnn", *rows)
    siren_figures = result.figures["labels"]["siren"]
    assert siren_figures["clips"] == 3
    assert siren_figures["positives"] + siren_figures["negatives"] == result.figures["windows"]
    assert result.figures["labels"]["gun_shot"]["recall"] is None
    assert "| siren |" in markdown(result)
