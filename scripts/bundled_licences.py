"""Prints, for the package's copyright file, what is bundled: each distribution's name, version, licence and home."""

from __future__ import annotations

from importlib.metadata import distributions
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from importlib.metadata import Distribution

_LONGEST: Final = 60
"""Characters; some put a whole licence into the field that is meant for its name."""


def licence(found: Distribution) -> str:
    """Return a distribution's licence as it states it itself."""
    facts = found.metadata.json
    stated = facts.get("license_expression") or facts.get("license") or ""
    if isinstance(stated, str) and stated and len(stated) <= _LONGEST and "\n" not in stated:
        return stated
    classified = [text.rpartition(" :: ")[2] for text in facts.get("classifier", ()) if text.startswith("License")]
    return " and ".join(classified) or "see its licence file"


def home(found: Distribution) -> str:
    """Return where a distribution comes from."""
    return f"https://pypi.org/project/{found.metadata['Name']}/{found.version}/"


def main() -> None:
    """Print one line for each distribution, by name."""
    for found in sorted(distributions(), key=lambda one: one.metadata["Name"].lower()):
        if found.metadata["Name"] != "streamcls":
            print(f"  {found.metadata['Name']} {found.version}: {licence(found)}\n    {home(found)}")


if __name__ == "__main__":
    main()
