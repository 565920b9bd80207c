"""The libraries that streamcls needs: which version is there, and whether it can be imported."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires, version
from typing import TYPE_CHECKING, Final

from streamcls.service.doctor.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["library_findings"]

_TIMEOUT_S: Final = 60.0
_NOT_OF_THE_DAEMON: Final = frozenset({"train", "test", "check"})
"""Extras that a daemon never needs."""
_REQUIREMENT: Final = re.compile(r"([A-Za-z0-9._-]+)([^;]*)(?:;(.*))?")
_EXTRA: Final = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")
_CHILD: Final = """
import importlib, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except BaseException as error:
        found[name] = f"{type(error).__name__}: {error}"
    else:
        found[name] = ""
    print(json.dumps(found), flush=True)
"""


def library_findings() -> Iterator[Finding]:
    """Look at every requirement; each is imported in another process, so that one that crashes is found as well."""
    try:
        stated = requires("streamcls") or []
    except PackageNotFoundError:
        yield Finding(
            "libraries", "problem", "streamcls is not installed, only found", "install it: pip install streamcls"
        )
        return
    wanted = dict(_wanted(stated))
    versions = {name: _version(name) for name in wanted}
    modules = _modules({name for name, there in versions.items() if there})
    reasons = _import_all([module for module in modules.values() if module])
    for name, (wanted_version, extra) in wanted.items():
        label = f"{name} {versions[name]}".strip()
        if not versions[name]:
            if extra:
                yield Finding("libraries", "ok", f"{name}: not installed; the extra {extra!r} brings it")
            else:
                yield Finding(
                    "libraries", "problem", f"{name} is not installed", f"pip install '{name}{wanted_version}'"
                )
            continue
        reason = reasons.get(modules.get(name) or "", "")
        if reason:
            hint = f"pip install --force-reinstall '{name}{wanted_version}'; a message that names a .so lacks a system library"
            yield Finding("libraries", "warning" if extra else "problem", f"{label} cannot be imported: {reason}", hint)
        else:
            yield Finding("libraries", "ok", label)


def _wanted(stated: Sequence[str]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Give what a daemon may need: name, version and extra; of two mentions the one without an extra counts."""
    seen: set[str] = set()
    for line in sorted(stated, key=lambda line: "extra" in line):
        found = _REQUIREMENT.match(line)
        if found is None:
            continue
        name, wanted_version, marker = found[1], found[2].strip(), found[3] or ""
        extra = _EXTRA.search(marker)
        named = extra[1] if extra else ""
        if named in _NOT_OF_THE_DAEMON or name in seen or ("python_version" in marker and named):
            continue
        seen.add(name)
        yield name, (wanted_version, named)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _modules(names: set[str]) -> dict[str, str]:
    """Map each distribution to a module of its own."""
    keys = {_key(name): name for name in names}
    found: dict[str, str] = {}
    for module, distributions in sorted(packages_distributions().items()):
        for distribution in distributions:
            name = keys.get(_key(distribution))
            if name is not None and not module.startswith("_") and module.isidentifier():
                better = name not in found or _key(module) == _key(name)
                found[name] = module if better else found[name]
    return found


def _key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _import_all(modules: Sequence[str]) -> Mapping[str, str]:
    """Return by module why it cannot be imported, empty where it can."""
    left, found = list(modules), dict[str, str]()
    while left:
        try:
            child = subprocess.run(  # noqa: S603 - ourselves
                [sys.executable, "-c", _CHILD, *left], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
            lines, reason = child.stdout.splitlines(), f"it ended the process (status {child.returncode})"
        except subprocess.TimeoutExpired as error:
            written = error.stdout or b""
            lines = (written.decode() if isinstance(written, bytes) else written).splitlines()
            reason = f"it took longer than {_TIMEOUT_S:.0f} s"
        done: dict[str, str] = {}
        for line in lines:
            if line.startswith("{"):  # libraries may print
                done = json.loads(line)
        found |= done
        left = [name for name in left if name not in done]
        if left:
            found[left[0]] = reason
            left = left[1:]
    return found
