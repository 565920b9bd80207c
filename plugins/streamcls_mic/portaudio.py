"""The one PortAudio of this process: who uses it, and when its list of devices may be read anew."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Final

from streamcls import RetryableSourceError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PortAudio", "load_sounddevice"]

_MISSING: Final = "the PortAudio library is missing; apt install libportaudio2"
_ELSEWHERE: Final = "on Fedora dnf install portaudio, on Arch pacman -S portaudio"


def load_sounddevice() -> Any:
    """Import sounddevice, which loads the PortAudio library.

    Raises
    ------
    SourceError
        The library or the Python package is not there; the message says what to install.
    """
    try:
        import sounddevice
    except ImportError as error:
        raise SourceError("the Python package sounddevice is missing; pip install sounddevice") from error
    except OSError as error:
        raise SourceError(f"{_MISSING} ({_ELSEWHERE}): {error}") from error
    return sounddevice


class PortAudio:
    """Guards what PortAudio keeps once per process: its list of devices, made when it is initialised.

    A device that was plugged in later is only seen after PortAudio was terminated and initialised again, which
    closes every stream of the process. So the list is read anew only while nobody records. The state belongs to
    the class because the library has it once per process, too.
    """

    lock: ClassVar[threading.Lock] = threading.Lock()
    """Held to open and close streams, which PortAudio does not allow at the same time."""
    _users: ClassVar[int] = 0

    @classmethod
    @contextmanager
    def use(cls) -> Iterator[Any]:
        """Hold PortAudio for one stream; gives the module ``sounddevice``, its devices as new as possible.

        Raises
        ------
        SourceError
            The library is missing.
        RetryableSourceError
            It cannot be initialised now.
        """
        sounddevice = load_sounddevice()
        with cls.lock:
            if cls._users == 0:
                cls._refresh(sounddevice)
            cls._users += 1
        try:
            yield sounddevice
        finally:
            with cls.lock:
                cls._users -= 1

    @staticmethod
    def _refresh(sounddevice: Any) -> None:
        # sounddevice initialises PortAudio at import and offers no public way to do it again.
        try:
            if sounddevice._initialized:  # noqa: SLF001
                sounddevice._terminate()  # noqa: SLF001
            sounddevice._initialize()  # noqa: SLF001
        except sounddevice.PortAudioError as error:
            raise RetryableSourceError(f"PortAudio cannot be initialised: {error}; see to the sound system") from error
