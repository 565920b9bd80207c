"""A model on a stream, and the policies that listen to it."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from streamcls.interfaces import ResumablePolicy
from streamcls.runtime.memory import PolicyMemory, policy_identity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from streamcls.config.resolve import ResolvedComponent
    from streamcls.interfaces import Classifier, Policy
    from streamcls.runtime.models import LoadedModel
    from streamcls.types import Event

__all__ = ["Consumer"]

_log = logging.getLogger("streamcls.pipeline")


@dataclass(slots=True)
class Consumer:
    """A model on one stream.

    Attributes
    ----------
    components, policies
        In the same order.
    decided
        Windows that end at or before this index have been decided.
    """

    model: LoadedModel
    classifier: Classifier
    components: tuple[ResolvedComponent, ...]
    policies: list[Policy]
    decided: int = 0
    _identities: list[str] = field(default_factory=list)

    @property
    def identities(self) -> list[str]:
        """What each policy's state depends on; see :func:`~streamcls.runtime.memory.policy_identity`."""
        if not self._identities and self.components:
            info = self.model.info
            self._identities = [policy_identity(part, info) for part in self.components]
        return self._identities

    def replan(
        self,
        components: tuple[ResolvedComponent, ...],
        at: int,
        reason: str,
        new: Callable[[ResolvedComponent, LoadedModel], Policy],
    ) -> list[Event]:
        """Go over to other policies: those that are the same go on, the others close what they have open, at an index."""
        known = {part.name: (part, policy) for part, policy in zip(self.components, self.policies, strict=True)}
        policies = []
        for part in components:
            before = known.get(part.name)
            if before is not None and before[0] == part:
                del known[part.name]
                policies.append(before[1])
            else:
                policies.append(new(part, self.model))
        self.components, self.policies, self._identities = components, policies, []
        return [event for _, policy in known.values() for event in policy.close(at, reason)]

    def remember(self) -> Iterator[PolicyMemory]:
        """Yield what those policies remember that can say it."""
        for part, policy, identity in zip(self.components, self.policies, self.identities, strict=True):
            if not isinstance(policy, ResumablePolicy):
                continue
            try:
                state: Any = json.loads(json.dumps(policy.state(), allow_nan=False))  # a copy, for another thread
            except Exception:  # noqa: BLE001 - a stranger's code: without its state it begins anew
                _log.exception("policy %s: its state cannot be kept", part.name)
                continue
            yield PolicyMemory(policy=part.name, model=self.model.name, identity=identity, state=state)

    def restore(
        self,
        memories: Iterable[PolicyMemory],
        renew: Callable[[ResolvedComponent, LoadedModel], Policy],
    ) -> Iterator[tuple[str, str]]:
        """Let each policy, all of them new, take over what it remembered; yield policy and model of those that did."""
        by_key = {(memory.policy, memory.model): memory for memory in memories}
        for number, (part, policy) in enumerate(zip(self.components, list(self.policies), strict=True)):
            key = (part.name, self.model.name)
            memory = by_key.get(key)
            if memory is None or not isinstance(policy, ResumablePolicy):
                continue
            if memory.identity != self.identities[number]:
                _log.warning("policy %s on %s: its configuration or its model changed; it begins anew", *key)
                continue
            try:
                policy.restore(memory.state)
            except Exception as error:  # noqa: BLE001 - as above
                _log.warning("policy %s on %s begins anew: %s: %s", *key, type(error).__name__, error)
                self.policies[number] = renew(part, self.model)
            else:
                yield key
