"""The model card: written from the recipe and what was measured."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from streamcls.training.evaluation.report import markdown
from streamcls.training.evaluation.taught import taught_markdown

if TYPE_CHECKING:
    from streamcls.training.corpora import Clip
    from streamcls.training.evaluate import Evaluation
    from streamcls.training.recipe import Recipe

__all__ = ["write_card"]


def write_card(recipe: Recipe, clips: list[Clip], evaluation: Evaluation | None, metrics: dict[str, Any]) -> str:
    """Write the card of a model, in Markdown."""
    spec, window = recipe.spec, recipe.window
    length_s = ((window.n_frames - 1) * spec.hop_length + spec.frame_length) / spec.sample_rate
    stride_s = window.stride_frames * spec.hop_length / spec.sample_rate
    which = "one of them" if recipe.activation == "softmax" else "any of them"
    same = 100 * metrics["float_to_quantised"]["same_top_label"]
    facts = (
        f"Task: `{recipe.task}`; labels: {', '.join(recipe.labels)} ({which}).",
        (
            f"Hears {length_s:.2f} s at a time, every {stride_s:.2f} s, at {spec.sample_rate} Hz mono; "
            f"{spec.n_features} features a frame (`{spec.kind}`)."
        ),
        (
            f"Network: `{recipe.network.kind}` size {recipe.network.size}, {metrics['parameters']} parameters, "
            f"{metrics['bytes'] / 1024:.0f} KiB as `{recipe.quantisation.kind}`."
        ),
        f"Quantised against float on the validation windows: the same top label in {same:.1f} %.",
    )
    lines = [
        f"# {recipe.name} {recipe.version}",
        "",
        recipe.description,
        "",
        *(f"- {fact}" for fact in facts),
        "",
        "## What it cannot do",
        "",
        recipe.limits.strip()
        or "Nobody has written down this model's limits; treat it as untested outside the data below.",
        "",
        "## Trained on",
        "",
        "The weights are all that is shipped; no recording is. Clips by split; a recording or artist is in one split only.",
        "",
        "| corpus | labels | train | valid | test | source | licence of the recordings |",
        "|---|---|---|---|---|---|---|",
    ]
    counts: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(("train", "valid", "test"), 0))
    found: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        counts[clip.corpus][clip.split] += 1
        found[clip.corpus].add(clip.found)
    for table in recipe.corpus:
        row = counts[table.name]
        lines.append(
            f"| {table.name} | {', '.join(sorted(found[table.name]))} | {row['train']} | {row['valid']} | {row['test']} | "
            f"{table.source or '-'} | {table.licence or 'not stated'} |"
        )
    if recipe.distillation.teacher:
        teacher = recipe.distillation.teacher.rpartition("/")[2]
        lines += [
            "",
            f"The posteriors of a teacher, `{teacher}`, on the training clips were further targets; it is not part of this bundle.",
        ]
    lines += ["", "## Measured", "", "Through the quantised model, on recordings that training never saw.", ""]
    if evaluation is not None:
        lines.append(markdown(evaluation))
    if "against_teacher" in metrics:
        lines += ["### Against its teacher", "", taught_markdown(metrics["against_teacher"])]
    return "\n".join(lines)
