"""Key pairs: the daemon's own, and the file in which a client keeps what it needs to connect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import zmq
import zmq.auth
from pydantic import SecretStr  # noqa: TC002 - pydantic looks it up at run time

from streamcls.bus.authorised import AUTHORISED
from streamcls.bus.keyfiles import READ_BY_OTHERS, KeyFile, folder_problem, key_problem, parse, read, write_new
from streamcls.errors import BusError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "CLIENT_SUFFIX",
    "ClientKeys",
    "Pair",
    "ServerKeys",
    "create_server",
    "load_client_keys",
    "load_server",
    "new_pair",
    "write_client_keys",
]

CLIENT_SUFFIX: Final = ".client.toml"
_PUBLIC: Final = "server.key"
_SECRET: Final = "server.key_secret"  # noqa: S105 - the name of a file
_FOLDER: Final = 0o700


class _Client(KeyFile):
    """All of it is treated as secret: somebody may have put the keys in the wrong places."""

    server: SecretStr
    public: SecretStr
    secret: SecretStr


@dataclass(frozen=True, slots=True)
class Pair:
    """A key pair, each key 40 characters of Z85. The secret one appears in no text of it."""

    public: str
    secret: str

    def __repr__(self) -> str:
        return f"{type(self).__name__}(public={self.public!r})"


class ServerKeys(Pair):
    """The daemon's pair."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class ClientKeys:
    """What a client needs to connect, keys of 40 characters of Z85 each. The secret one appears in no text of it.

    Attributes
    ----------
    server_public
        The daemon's public key.
    public, secret
        The client's own.
    """

    server_public: str
    public: str
    secret: str

    def __repr__(self) -> str:
        return f"ClientKeys(server_public={self.server_public!r}, public={self.public!r})"

    def secure_client(self, socket: zmq.Socket[bytes]) -> None:
        """Make a socket use the keys; call it before the socket is connected."""
        socket.curve_serverkey = self.server_public.encode()
        socket.curve_publickey = self.public.encode()
        socket.curve_secretkey = self.secret.encode()


def new_pair() -> Pair:
    """Make a pair from the operating system's randomness."""
    public, secret = zmq.curve_keypair()
    return Pair(public.decode(), secret.decode())


def create_server(folder: Path) -> str:
    """Make the folder with a new pair of the daemon; return the public key.

    Raises
    ------
    BusError
        There are keys already, which would be lost, or it cannot be written.
    """
    pair = new_pair()
    try:
        folder.mkdir(mode=_FOLDER, parents=True, exist_ok=True)
        for name in (_SECRET, _PUBLIC):
            if (folder / name).exists():
                raise BusError(
                    f"{folder / name} exists; who wants new keys moves the folder away: every client then needs a new file"
                )
        (folder / AUTHORISED).mkdir(mode=_FOLDER, exist_ok=True)
        head = "metadata\ncurve\n"
        public = f'    public-key = "{pair.public}"\n'
        write_new(folder / _SECRET, f'{head}{public}    secret-key = "{pair.secret}"\n')
        write_new(folder / _PUBLIC, head + public)
    except OSError as error:
        raise BusError(f"keys cannot be made in {folder}: {error.strerror}") from error
    return pair.public


def load_server(folder: Path) -> ServerKeys:
    """Read the daemon's pair.

    Raises
    ------
    BusError
        It is missing or damaged, others can read the secret key, or others can write into the folder.
    """
    path = folder / _SECRET
    problem = folder_problem(folder) or folder_problem(folder / AUTHORISED)
    if problem:
        raise BusError(problem)
    read(path, READ_BY_OTHERS)
    try:
        public, secret = zmq.auth.load_certificate(path)
    except (OSError, ValueError) as error:
        raise BusError(
            f"{path} is no key file: {type(error).__name__}; expected what streamcls keys init makes"
        ) from error
    keys = ServerKeys(public.decode(errors="replace"), (secret or b"").decode(errors="replace"))
    if (
        key_problem(keys.public)
        or key_problem(keys.secret)
        or zmq.curve_public(keys.secret.encode()).decode() != keys.public
    ):
        raise BusError(
            f"{path} holds no pair of keys that belong together; restore it, or make new ones with streamcls keys init"
        )
    return keys


def write_client_keys(path: Path, keys: ClientKeys) -> None:
    """Write the file that a client keeps, readable by its owner only. Raises BusError where it exists or cannot be written."""
    text = f'server = "{keys.server_public}"\npublic = "{keys.public}"\nsecret = "{keys.secret}"\n'
    try:
        write_new(path, text)
    except FileExistsError:
        raise BusError(f"{path} exists; move it away, or choose another file") from None
    except OSError as error:
        raise BusError(f"{path} cannot be written: {error.strerror}") from error


def load_client_keys(path: Path) -> ClientKeys:
    """Read the file that a client keeps.

    Raises
    ------
    BusError
        It is missing or damaged, or others can read it.
    """
    entry = parse(_Client, path, read(path, READ_BY_OTHERS))
    keys = ClientKeys(*(value.get_secret_value() for value in (entry.server, entry.public, entry.secret)))
    for member, key in (("server", keys.server_public), ("public", keys.public), ("secret", keys.secret)):
        if problem := key_problem(key):
            raise BusError(f"{path}: {member}: {problem}")
    if zmq.curve_public(keys.secret.encode()).decode() != keys.public:
        raise BusError(f"{path}: public and secret do not belong together")
    return keys
