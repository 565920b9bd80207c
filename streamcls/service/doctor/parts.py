"""Plugins, model bundles and backends: the parts that streamcls finds by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamcls.errors import BundleError
from streamcls.inference import find_bundles, load_bundle
from streamcls.service.doctor.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from streamcls.plugins import Registry

__all__ = ["backend_findings", "model_findings", "plugin_findings"]


def plugin_findings(registry: Registry) -> Iterator[Finding]:
    """Look at what became of each plugin."""
    for record in registry.records:
        label = f"{record.name} ({record.distribution} {record.version})"
        if record.status == "broken":
            yield Finding("plugins", "problem", f"{label}: {record.reason}", "mend, update or uninstall it")
            continue
        parts = ", ".join(f"{item.kind} {item.name}" for item in record.provides if not item.reason)
        yield Finding("plugins", "ok", f"{label}: {parts or 'nothing'}")


def backend_findings(registry: Registry) -> Iterator[Finding]:
    """Look at which backends can run models; none at all is a problem."""
    reasons: dict[str, str | None] = {}
    for name, backend in registry.backends.items():
        try:
            reasons[name] = backend.unavailable()
        except Exception as error:  # noqa: BLE001 - a stranger's code: the others are looked at as well
            reasons[name] = f"it raised {type(error).__name__}: {error}"
    for name, reason in reasons.items():
        yield Finding("backends", "ok", f"{name}: {'not available: ' + reason if reason else 'available'}")
    if reasons and all(reasons.values()):
        yield Finding("backends", "problem", "none is available, so no model can run", "pip install ai-edge-litert")


def model_findings(paths: Iterable[Path]) -> Iterator[Finding]:
    """Verify every bundle that is found: its files, their hashes, and what they say of each other."""
    bundles = find_bundles(paths)
    for name, path in bundles.items():
        try:
            bundle = load_bundle(path)
        except BundleError as error:
            yield Finding("models", "problem", f"{name}: {error}", "install it anew, or remove its folder")
        else:
            yield Finding("models", "ok", f"{name} {bundle.manifest.version} at {path}: verified")
    if not bundles:
        yield Finding(
            "models", "problem", "no bundle is found", "reinstall streamcls, or name a folder in [models] path"
        )
