"""What every component has to hold to: its name, its ``Config``, its preflight."""

from __future__ import annotations

import json
import re
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from pydantic import BaseModel, ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["ComponentContract", "in_thread"]

T = TypeVar("T")

_COMPONENT_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]*")
_UNHEARD_OF: Final = "a_key_that_nobody_has"


def in_thread(function: Callable[[], T], within_s: float, what: str) -> T:
    """Call a function on a thread of its own, as the daemon does, and return what it returns or raise what it raises.

    Raises
    ------
    AssertionError
        It did not return within that many seconds; ``what`` says in the message what it was.
    """
    results: list[T] = []
    failures: list[BaseException] = []

    def call() -> None:
        try:
            results.append(function())
        except BaseException as error:  # noqa: BLE001 - it is raised again, by the caller
            failures.append(error)

    thread = threading.Thread(target=call, name="contract", daemon=True)
    thread.start()
    thread.join(within_s)
    assert not thread.is_alive(), f"{what} took longer than {within_s:g} s"
    if failures:
        raise failures[0]
    return results[0]


class ComponentContract:
    """Common to sources, policies and subscribers.

    Attributes
    ----------
    component
        The class, as the plugin's hook hands it over.
    folder
        An empty folder for each test, removed after it.
    """

    component: ClassVar[type[Any]]
    folder: Path
    _temporary: tempfile.TemporaryDirectory[str]

    def setup_method(self) -> None:
        """Make the folder."""
        self._temporary = tempfile.TemporaryDirectory(prefix="streamcls-contract-")
        self.folder = Path(self._temporary.name)

    def teardown_method(self) -> None:
        """Remove the folder."""
        self._temporary.cleanup()

    def options(self) -> Mapping[str, Any]:
        """Return the keys of a configuration that works, as they would stand in the file. May use ``self.folder``."""
        return {}

    def config(self) -> Any:
        """Return the checked configuration."""
        return self.component.Config.model_validate(dict(self.options()))

    def test_it_has_a_name_that_a_configuration_can_use(self) -> None:
        """Lower-case letters, digits and . _ - only."""
        name = self.component.name
        assert isinstance(name, str), f"name is {name!r}, expected a string"
        assert _COMPONENT_NAME.fullmatch(name), f"name is {name!r}, expected lower-case letters, digits and . _ -"

    def test_its_config_is_a_pydantic_model(self) -> None:
        """``Config`` is what turns the keys in the file into checked values."""
        model = self.component.Config
        assert isinstance(model, type), f"Config is {model!r}, expected a class"
        assert issubclass(model, BaseModel), (
            f"Config is {model!r}, expected a pydantic model (inherit streamcls.ComponentConfig)"
        )

    def test_its_config_forbids_unknown_keys(self) -> None:
        """A misspelt key must be an error, never a setting that silently does nothing."""
        try:
            self.component.Config.model_validate({**self.options(), _UNHEARD_OF: 1})
        except ValidationError as error:
            found = [entry["loc"] for entry in error.errors() if entry["type"] == "extra_forbidden"]
            assert found, f"an unknown key was refused, but for another reason: {error}"
        else:
            raise AssertionError('Config took an unknown key: inherit streamcls.ComponentConfig, or set extra="forbid"')

    def test_its_config_is_frozen(self) -> None:
        """Nobody changes a configuration that is in force."""
        config = self.config()
        name = next(iter(type(config).model_fields), _UNHEARD_OF)
        try:
            setattr(config, name, getattr(config, name, None))
        except (ValidationError, AttributeError, TypeError):
            return
        raise AssertionError(
            f"{name} of a checked configuration could be set: inherit streamcls.ComponentConfig, or set frozen=True"
        )

    def test_its_config_can_be_printed_as_json(self) -> None:
        """``streamcls config`` prints what is in force."""
        json.dumps(self.config().model_dump(mode="json"), allow_nan=False)

    def test_its_preflight_finds_nothing_wrong_with_a_configuration_that_works(self) -> None:
        """``preflight``, where there is one, returns sentences and opens nothing."""
        preflight = getattr(self.component, "preflight", None)
        if preflight is None:
            return
        sentences = preflight(self.config())
        assert isinstance(sentences, list), f"preflight returned {sentences!r}, expected a list of sentences"
        assert not sentences, f"preflight found fault with options(): {sentences}"
