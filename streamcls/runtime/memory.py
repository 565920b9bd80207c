"""What a pipeline keeps over a restart of the daemon."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from streamcls.config.resolve import ResolvedComponent
    from streamcls.types import ModelInfo

__all__ = ["PipelineMemory", "PolicyMemory", "policy_identity"]

_Index = Annotated[int, Field(ge=0)]


class _Memory(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class PolicyMemory(_Memory):
    """One policy that listens to one model.

    Attributes
    ----------
    identity
        See :func:`policy_identity`.
    state
        What the policy itself returned.
    """

    policy: str
    model: str
    identity: str
    state: dict[str, Any]


class PipelineMemory(_Memory):
    """One stream. All indices are absolute and at the source's rate.

    Attributes
    ----------
    origin, restarts
        What ids are made with; see :class:`~streamcls.interfaces.PolicyContext`.
    since
        Where the stretch without a gap began that the newest sample belongs to.
    furthest
        Index behind the newest sample.
    needed
        The oldest sample that is to be delivered again, at most ``furthest``.
    decided
        By model: windows that end at or before this index have been decided.
    levels_decided
        The same for levels.
    begins
        By digest of the front end: where it begins anew.
    begun
        By id of an open finding: the time of its beginning.
    """

    version: Literal[1] = 1
    sample_rate: int = Field(ge=1)
    channels: int = Field(ge=1)
    origin: str
    restarts: int = Field(ge=0)
    since: _Index
    furthest: _Index
    needed: _Index
    decided: dict[str, _Index]
    levels_decided: _Index
    levels_begin: _Index
    begins: dict[str, _Index]
    windows: int = Field(ge=0)
    gaps: int = Field(ge=0)
    lost_samples: int = Field(ge=0)
    begun: dict[str, str | None]
    policies: list[PolicyMemory]


def policy_identity(component: ResolvedComponent, model: ModelInfo) -> str:
    """Return a hash of all that a policy's state depends on: its type and configuration, and the model that it listens to."""
    parts = [component.kind, component.config.model_dump(mode="json"), asdict(model)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
