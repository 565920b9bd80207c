"""Bodies made of an event. Values are put into parsed JSON, never into its text, so that nothing in them can break it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from string import Template
from typing import Any, Final

__all__ = ["PRESETS", "MemberTemplate", "check", "render"]

_MEMBERS: Final = frozenset(
    {
        "specversion",
        "id",
        "source",
        "type",
        "subject",
        "time",
        "datacontenttype",
        "epoch",
        "sequence",
        "position",
        "data",
    }
)
_SHORT: Final = {"kind", "stream"}
_DEFAULT: Final = "${stream}: ${data.label} ${data.phase} (${kind}, ${time})"

PRESETS: Final[Mapping[str, tuple[Any, str]]] = {
    "cloudevents": (None, "application/cloudevents+json"),
    "json": ({"text": _DEFAULT}, "application/json"),
    "slack": ({"text": "{template}"}, "application/json"),
    "discord": ({"content": "{template}", "allowed_mentions": {"parse": []}}, "application/json"),
    "text": (_DEFAULT, "text/plain; charset=utf-8"),
}
"""By name: what the body is made of (None: the event as it is), and its content type."""


class MemberTemplate(Template):
    """``${data.label}`` stands for a member of the event, ``$subject`` for one at its top, ``$$`` for a dollar sign."""

    idpattern = "[a-z_][a-z0-9_]*"
    braceidpattern = r"[a-z_][a-z0-9_]*(?:\.[a-z0-9_-]+)*"


class _Members(Mapping[str, str]):
    """Members of an event by their paths, as text; one that is missing is empty."""

    def __init__(self, event: Mapping[str, Any], escape: Callable[[str], str]) -> None:
        self._event, self._escape = event, escape

    def __getitem__(self, path: str) -> str:
        return self._escape(_text(_member(self._event, path)))

    def __iter__(self) -> Any:
        return iter(())

    def __len__(self) -> int:
        return 0


def check(template: Any) -> list[str]:
    """Return what is wrong with a template, as sentences."""
    problems = []
    for text in _texts(template):
        try:
            names = _names(text)
        except ValueError as error:
            problems.append(f"template {text!r}: {error}; write $$ for a dollar sign")
            continue
        for name in names:
            first = name.partition(".")[0]
            if first not in _MEMBERS | _SHORT:
                problems.append(
                    f"template {text!r}: an event has no member {first!r}, expected kind, stream, data.… or one of its envelope"
                )
    return problems


def render(preset: str, template: Any, event: Mapping[str, Any]) -> bytes:
    """Return the body of the request about an event.

    Parameters
    ----------
    preset
        One of :data:`PRESETS`.
    template
        Text or JSON values with placeholders in their texts; None: the preset's own. A text that is nothing but one placeholder
        becomes the value itself (a number stays one), all others become text.
    """
    frame, _ = PRESETS[preset]
    if frame is None:
        return _json(event)
    if preset == "text":
        return MemberTemplate(template or frame).substitute(_Members(event, str)).encode()
    if preset == "json":
        return _json(_filled(frame if template is None else template, event))
    escape = _slack if preset == "slack" else str
    text = MemberTemplate(template or _DEFAULT).substitute(_Members(event, escape))
    return _json({key: text if value == "{template}" else value for key, value in frame.items()})


def _filled(value: Any, event: Mapping[str, Any]) -> Any:
    if isinstance(value, str):
        match = MemberTemplate.pattern.fullmatch(value)
        path = match and (match["braced"] or match["named"])
        return _member(event, path) if path else MemberTemplate(value).substitute(_Members(event, str))
    if isinstance(value, Mapping):
        return {key: _filled(part, event) for key, part in value.items()}
    return [_filled(part, event) for part in value] if isinstance(value, (list, tuple)) else value


def _member(event: Mapping[str, Any], path: str) -> Any:
    """Return the member at a path such as ``data.probability.peak``; None where there is none."""
    if path == "kind":
        return str(event.get("type", "")).removeprefix("streamcls.")
    value: Any = event
    for step in ("subject" if path == "stream" else path).split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _slack(text: str) -> str:
    """Escape what means something in a Slack message."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _texts(template: Any) -> list[str]:
    if isinstance(template, str):
        return [template]
    parts = (
        template.values() if isinstance(template, Mapping) else template if isinstance(template, (list, tuple)) else ()
    )
    return [text for part in parts for text in _texts(part)]


def _names(text: str) -> list[str]:
    names = []
    for match in MemberTemplate.pattern.finditer(text):
        if match["invalid"] is not None:
            raise ValueError(f"the dollar sign at character {match.start() + 1} begins no placeholder")
        if name := match["named"] or match["braced"]:
            names.append(name)
    return names
