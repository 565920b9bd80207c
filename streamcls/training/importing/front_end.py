"""The front end of an imported model, and how it fills the model's input."""

from __future__ import annotations

import math
import tomllib
from typing import TYPE_CHECKING, Any, Final, Literal

from streamcls.errors import BundleError
from streamcls.inference.bundle import WindowTable
from streamcls.types import FrontEndSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["InputKind", "front_end_for", "parse_values", "read_spec_file"]

InputKind = Literal["waveform", "mfcc", "log_mel"]
_NEEDED: Final = {"mfcc": ("frame_length", "hop_length", "n_mels"), "log_mel": ("frame_length", "hop_length")}
"""What differs so much between models that no default would do."""
_LARGEST_HOP: Final = 1 << 16
_SHORTEST_HOP_S: Final = 0.005
"""Of a waveform: shorter frames would only cost time."""


def parse_values(values: Sequence[str]) -> dict[str, Any]:
    """Read ``KEY=VALUE`` settings of a front end; a value that is no number is a word.

    Raises
    ------
    BundleError
        One is not of that form.
    """
    found: dict[str, Any] = {}
    for value in values:
        key, separator, text = (part.strip() for part in value.partition("="))
        if not (key and separator and text):
            raise BundleError(f"--front-end {value!r} is not KEY=VALUE, e.g. hop_length=256")
        try:
            found[key] = int(text)
        except ValueError:
            try:
                found[key] = float(text)
            except ValueError:
                found[key] = text
    return found


def read_spec_file(path: Path) -> dict[str, Any]:
    """Read a front end from a TOML file: its keys, or those of its table ``front_end``, as in a recipe or another ``bundle.toml``.

    Raises
    ------
    BundleError
        It cannot be read or is no TOML.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise BundleError(f"{path}: it is no valid TOML: {error}") from error
    inner = data.get("front_end", data)
    if not isinstance(inner, dict):
        raise BundleError(f"{path}: front_end is {inner!r}, expected a table")
    return inner


def front_end_for(
    kind: InputKind, shape: tuple[int, ...], values: Mapping[str, Any], stride_s: float | None
) -> tuple[FrontEndSpec, WindowTable]:
    """Find the front end and the window that fill an input of a shape.

    Parameters
    ----------
    shape
        Of the model's input, the batch of one included.
    values
        What is known of the front end; ``sample_rate`` always has to be.
    stride_s
        Distance of windows in seconds; None for half a window.

    Raises
    ------
    BundleError
        Something is missing or unknown, or the front end does not give what the input wants.
    """
    given = dict(values)
    if given.pop("kind", kind) != kind:
        raise BundleError(f"the front end's kind is {values['kind']!r}, but --input says {kind}")
    if "sample_rate" not in given:
        raise BundleError("the sample rate is missing: no model says at which rate it hears; give --sample-rate HZ")
    unknown = sorted(set(given) - set(FrontEndSpec.field_names()))
    if unknown:
        raise BundleError(f"front end: unknown {', '.join(unknown)}; it has {', '.join(FrontEndSpec.field_names())}")
    if kind == "waveform":
        return _waveform(shape, given, stride_s)
    missing = [key for key in _NEEDED[kind] if key not in given]
    if missing:
        raise BundleError(
            f"front end: {', '.join(missing)} missing: nothing in a model says how its features were made, and others than it was "
            f"trained on make it worthless; give them with --front-end KEY=VALUE, or all with --spec-file"
        )
    if "fmax" not in given and isinstance(given["sample_rate"], int):
        given["fmax"] = given["sample_rate"] / 2
    if "n_fft" not in given and "frame_length" in given:
        given["n_fft"] = given["frame_length"]
    bands = _bands(kind, shape, given)
    spec = _spec({"kind": kind, **bands, **given}, f"; the model's input is {list(shape)}")
    n_frames = _frames(shape, spec)
    half = max(1, n_frames // 2)
    stride = half if stride_s is None else max(1, round(stride_s * spec.sample_rate / spec.hop_length))
    return spec, WindowTable(n_frames=n_frames, stride_frames=stride)


def _spec(values: dict[str, Any], remark: str = "") -> FrontEndSpec:
    try:
        return FrontEndSpec(**values)
    except (TypeError, ValueError) as error:
        raise BundleError(f"front end: {error}{remark}") from error


def _waveform(
    shape: tuple[int, ...], given: dict[str, Any], stride_s: float | None
) -> tuple[FrontEndSpec, WindowTable]:
    rate = given["sample_rate"]
    odd = sorted(set(given) - {"sample_rate"})
    if odd:
        raise BundleError(f"front end: {', '.join(odd)} mean nothing to a model that takes samples (--input waveform)")
    _spec({"sample_rate": rate, "fmax": 1.0})  # refuses a rate that is none
    length = math.prod(shape)
    if length != max(shape):
        raise BundleError(f"the model's input is {list(shape)}, which is no row of samples; is it mfcc or log_mel?")
    hops = _hops(length, rate)
    half = length / 2
    if stride_s is None:
        hop, stride = _nearest(hops, half)
    else:
        stride = max(1, round(stride_s * rate))
        hop = max((one for one in hops if stride % one == 0), default=0)
    if not hop:
        instead = _nearest(hops, half if stride_s is None else stride_s * rate)[1]
        hint = f"; try --stride {instead / rate:g}" if instead else ""
        raise BundleError(
            f"windows of {length} samples cannot be {stride or round(half)} samples apart: both have to be whole numbers of one "
            f"frame of {_shortest(rate)} to {_LARGEST_HOP} samples{hint}"
        )
    spec = _spec(
        {
            "kind": "waveform",
            "sample_rate": rate,
            "frame_length": hop,
            "hop_length": hop,
            "n_fft": hop,
            "fmax": rate / 2,
        }
    )
    return spec, WindowTable(n_frames=length // hop, stride_frames=stride // hop)


def _shortest(rate: int) -> int:
    return max(1, round(_SHORTEST_HOP_S * rate))


def _hops(length: int, rate: int) -> list[int]:
    """Return the lengths of frames, longest first, a whole number of which make a window of so many samples."""
    counts = range(1, length // _shortest(rate) + 1)
    return [length // n for n in counts if length % n == 0 and length // n <= _LARGEST_HOP]


def _nearest(hops: list[int], wanted: float) -> tuple[int, int]:
    """Return the frame and the stride of whole frames that come nearest to a stride, the longest frame of several; zeros for none."""
    pairs = [(hop, max(1, round(wanted / hop)) * hop) for hop in hops]
    return min(pairs, key=lambda pair: abs(pair[1] - wanted), default=(0, 0))


def _bands(kind: InputKind, shape: tuple[int, ...], given: Mapping[str, Any]) -> dict[str, Any]:
    """Take the number of coefficients or bands from the input's last dimension, where it is not given."""
    inner = [size for size in shape if size != 1]
    width = inner[-1] if inner else 1
    if kind == "mfcc":
        return {"n_mfcc": width}
    bands = given.get("n_mels", width)
    return {"n_mels": bands, "n_mfcc": bands}


def _frames(shape: tuple[int, ...], spec: FrontEndSpec) -> int:
    """Return how many frames an input takes, which has to be rows of frames: (1, n_frames, n_features), ones anywhere."""
    width = spec.n_features
    inner = [size for size in shape if size != 1]
    size = math.prod(shape)
    if width > 1 and len(inner) == 2 and inner[0] == width and inner[1] != width:  # noqa: PLR2004 - rows and columns
        raise BundleError(
            f"the model's input is {list(shape)}: {width} features by {inner[1]} frames, but windows are frames by features; "
            "convert the model again with a transposition at its beginning"
        )
    if size % width or [one for one in (size // width, width) if one != 1] != inner:
        raise BundleError(
            f"the model's input is {list(shape)}, but the front end gives rows of {width} ({spec.kind}): "
            f"expected [1, n_frames, {width}]"
        )
    return size // width
