"""Settings of the genre policy."""

from __future__ import annotations

from pydantic import Field, model_validator

from streamcls import ComponentConfig
from streamcls.decision import MapSetting  # noqa: TC001 - pydantic reads it when the class is made

__all__ = ["GenreConfig"]


class GenreConfig(ComponentConfig):
    """All spans are in seconds of audio; all thresholds are probabilities."""

    models: tuple[str, ...] = Field(
        default=(), description="Models to listen to; empty: every model whose task is genre."
    )
    map: MapSetting = Field(
        default_factory=dict,
        description="Model label to genre; labels left out are ignored. Empty: as they are. Or the ready map 'audioset'.",
    )
    smooth_s: float = Field(default=4.0, ge=0, le=600, description="Posteriors are averaged over this long.")
    enter: float = Field(
        default=0.45, ge=0, le=1, description="A genre begins when its smoothed probability reaches this."
    )
    leave: float = Field(default=0.3, ge=0, le=1, description="It ends when its smoothed probability falls below this.")
    margin: float = Field(default=0.1, ge=0, le=1, description="And another takes over when it is better by this much.")
    min_duration_s: float = Field(
        default=4.0, ge=0, le=3600, description="A genre must hold for this long before its segment opens."
    )
    update_s: float = Field(
        default=30.0, gt=0, le=86_400, description="An open segment is reported again after this long."
    )
    silence_dbfs: float = Field(default=-60.0, ge=-120, le=0, description="Quieter windows have no genre.")
    bridge_gap_s: float = Field(default=2.0, ge=0, le=3600, description="A segment survives a gap of up to this long.")
    window_events: bool = Field(default=True, description="Publish genre.window events.")

    @model_validator(mode="after")
    def _ordered(self) -> GenreConfig:
        if self.leave > self.enter:
            raise ValueError(f"leave is {self.leave}, expected at most enter ({self.enter})")
        return self
