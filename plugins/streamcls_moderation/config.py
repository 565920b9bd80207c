"""Settings of the moderation policy."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field, model_validator

from streamcls import ComponentConfig
from streamcls.decision import MapSetting  # noqa: TC001 - pydantic reads it when the class is made

__all__ = ["DEFAULT_RULES", "ModerationConfig", "Rule"]


class Rule(ComponentConfig):
    """When one label raises an alert, and how grave that is. Spans are in seconds, thresholds are probabilities."""

    enter: float | None = Field(
        default=None, ge=0, le=1, description="A window speaks for the alert from here; none: the bundle's or 0.6."
    )
    leave: float | None = Field(
        default=None, ge=0, le=1, description="An open alert stays open from here; none: 0.6 of enter."
    )
    k: int = Field(default=2, ge=1, le=1000, description="The alert opens when k of the last n windows speak for it.")
    n: int = Field(default=3, ge=1, le=1000)
    min_duration_s: float = Field(default=0.0, ge=0, le=3600, description="And when they span at least this long.")
    cool_down_s: float = Field(
        default=5.0, ge=0, le=86_400, description="It closes after this long without a window above leave."
    )
    severity: Literal["info", "low", "medium", "high", "critical"] = "medium"
    action: Literal["pass", "review", "block"] = "review"

    @model_validator(mode="after")
    def _ordered(self) -> Rule:
        if self.enter is not None and self.leave is not None and self.leave > self.enter:
            raise ValueError(f"leave is {self.leave}, expected at most enter ({self.enter})")
        if self.k > self.n:
            raise ValueError(f"k is {self.k}, expected at most n ({self.n})")
        return self


DEFAULT_RULES: Final = {
    "gun_shot": Rule(k=1, n=2, severity="critical", action="block"),
    "explosion": Rule(k=1, n=2, severity="critical", action="block"),
    "screaming": Rule(severity="high"),
    "siren": Rule(severity="medium"),
    "glass_breaking": Rule(k=1, n=2, severity="medium"),
    "crying_baby": Rule(severity="low"),
}
"""Rules for the labels that the shipped bundles know; those that a model does not put out are ignored.

Breaking glass is over within a window; a siren or a child goes on. Of the rules tried on a validation programme, these found about as much
as any or more at one to two false alerts an hour, and sooner than rules that ask for more windows.
"""


class ModerationConfig(ComponentConfig):
    """Which labels raise alerts."""

    models: tuple[str, ...] = Field(
        default=(), description="Models to listen to; empty: every model whose task is moderation."
    )
    map: MapSetting = Field(
        default_factory=dict,
        description="Model label to moderation label; others are ignored. Empty: as they are. Or the ready map 'audioset'.",
    )
    labels: dict[str, Rule] | None = Field(default=None, description="Rule by label; none: the built-in rules.")
    update_s: float = Field(
        default=10.0, gt=0, le=86_400, description="An open alert is reported again after this long."
    )
    silence_dbfs: float = Field(default=-70.0, ge=-120, le=0, description="Quieter windows speak for nothing.")
    bridge_gap_s: float = Field(default=2.0, ge=0, le=3600, description="An alert survives a gap of up to this long.")
    window_events: bool = Field(default=True, description="Publish moderation.window events.")
