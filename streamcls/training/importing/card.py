"""The card of an imported model: what is known, and that nothing was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from streamcls.decision import READY_MAPS, ready_map
from streamcls.training.toml import dump_toml

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamcls.inference import Bundle

__all__ = ["import_card", "suggested_configuration"]

_MOST_LABELS: Final = 30
_LEAST_CLASSES: Final = 3
"""A model that knows fewer of a taxonomy's classes is taken for a model with labels of its own."""
_TEXT: Final = """\
# {title}

{description}

**Nothing was measured.** This bundle was made by `streamcls models import` from a finished model. How good the model is, on
what it was trained, and under which licence it stands is for its maker to say; measure it on recordings of your own with
`streamcls evaluate`.

{facts}

## What it cannot do

Models hear sounds, not words or meaning. Explicit lyrics, hate speech and sexual content are not covered. Its scores are not
calibrated: a score of 0.6 need not be right in six cases of ten, and thresholds have to be chosen on audio like yours.

## Its front end

{front_end}

## Its goldens

`golden.npz` holds the model's outputs for silence, a chord, noise and a swept tone, computed on the machine that imported it:
they show whether another machine computes the same, not whether it is right.
"""


def suggested_configuration(bundle: Bundle) -> str:
    """Return the lines of a configuration that put a bundle to use, a ready map where its labels are of a known taxonomy."""
    info = bundle.info()
    path = str(bundle.path) if "/" in str(bundle.path) else f"./{bundle.path}"  # a word without a slash is a name
    lines = [f'model.{_key(bundle.name)}.bundle = "{path}"']
    for task in ("genre", "moderation"):
        known = next((name for name in READY_MAPS if len(ready_map(name, task).mapping(info)) >= _LEAST_CLASSES), None)
        if known is not None:
            lines.append(f'policy.{task} = {{ models = ["{bundle.name}"], map = "{known}" }}')
    if len(lines) == 1:
        policy = "genre" if info.task == "genre" else "moderation"
        lines.append(f'policy.{policy} = {{ models = ["{bundle.name}"] }}')
    lines += ["[[source]]", 'name = "studio"', 'type = "mic"', "[[stream]]", f'models = ["{bundle.name}"]']
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return f'"{name}"' if "." in name else name


def import_card(bundle: Bundle, remarks: Sequence[str]) -> str:
    """Write the card of an imported model, in Markdown."""
    manifest, spec = bundle.manifest, bundle.spec
    shown = "; ".join(bundle.labels[:_MOST_LABELS])
    more = f" … and {bundle.n_labels - _MOST_LABELS} more, see labels.txt" if bundle.n_labels > _MOST_LABELS else ""
    stride_s = bundle.stride_s(manifest.window.stride_frames)
    facts = [
        f"Task: `{manifest.task}`; {bundle.n_labels} labels, {len(bundle.taxonomy)} of them with a taxonomy id: {shown}{more}.",
        (
            f"Hears {bundle.window_s:.3f} s at a time, every {stride_s:.3f} s, at {spec.sample_rate} Hz mono; "
            f"input {list(bundle.input_shape)} (`{spec.kind}`)."
        ),
        f"{len(bundle.model_bytes) / 1024:.0f} KiB, `{manifest.model.quantisation}`.",
        *(f"Found at import: {remark}." for remark in remarks),
    ]
    return _TEXT.format(
        title=f"{bundle.name} {manifest.version}",
        description=manifest.description,
        facts="\n".join(f"- {fact}" for fact in facts),
        front_end=_front_end(bundle),
    )


def _front_end(bundle: Bundle) -> str:
    if bundle.spec.kind == "waveform":
        return (
            f"It is given samples at {bundle.spec.sample_rate} Hz, full scale -1 to 1, as stated at import; a model that wants others\n"
            "hears nothing that it knows."
        )
    keys = dump_toml({"front_end": bundle.manifest.front_end}).strip()
    return (
        "As stated at import; no model says how its features were made, and if it was trained on others, all its answers are\n"
        f"worthless.\n\n```toml\n{keys}\n```"
    )
