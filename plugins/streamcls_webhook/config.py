"""Settings of the subscriber ``webhook``, and the secrets that they refer to."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, JsonValue, SecretStr, field_serializer, model_validator

from streamcls.bus.delivery_settings import DeliverySettings

__all__ = ["WebhookConfig", "expanded", "origin", "server_url", "shown_url", "signing_key", "state_folder"]

_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OURS: Final = frozenset(
    {"content-length", "host", "transfer-encoding", "connection", "idempotency-key", "x-streamcls-signature"}
)


class WebhookConfig(DeliverySettings):
    """Settings of the subscriber ``webhook``."""

    url: SecretStr = Field(description="Where to; ${NAME} is an environment variable. Only its host is ever shown.")
    headers: dict[str, SecretStr] = Field(default_factory=dict, description="Further headers; ${NAME} as above.")
    preset: Literal["cloudevents", "json", "slack", "discord", "text"] = Field(
        default="cloudevents", description="What the body is."
    )
    template: JsonValue = Field(default=None, description="What it says; not with cloudevents.")
    phases: tuple[Literal["opened", "updated", "closed"], ...] = Field(
        default=("opened", "closed"), description="Of segments and alerts, only these."
    )
    muted: Literal["skip", "send"] = Field(default="skip", description="What to do with alerts that somebody muted.")
    windows: bool = Field(default=False, description="Send window events and heartbeats, too.")
    secret: SecretStr | None = Field(default=None, description="Key of the signature; ${NAME} as above.")
    secret_file: str = Field(default="", description="A file that holds it instead, on one line.")
    timeout_s: float = Field(default=10.0, gt=0, le=600, description="For a whole request.")
    ca_file: str = Field(default="", description="Certificates to trust instead of the usual ones (PEM).")
    proxy: SecretStr | None = Field(default=None, description="http://HOST:PORT; none is used otherwise.")
    follow_redirects: bool = Field(default=False, description="Follow 307 and 308 within the same server.")
    retry_after_max_s: float = Field(default=3600.0, ge=0, le=86_400, description="Longest Retry-After obeyed.")
    give_up_s: float = Field(default=86_400.0, ge=0, description="An event is given up after so long; 0: never.")
    concurrency: int = Field(default=4, ge=1, le=64, description="Requests at a time, each of another stream.")
    per_minute: int = Field(default=0, ge=0, le=100_000, description="Most requests in a minute, 0: any number.")

    @model_validator(mode="after")
    def _fits(self) -> WebhookConfig:
        if self.secret is not None and self.secret_file:
            raise ValueError("secret and secret_file are both given, expected one")
        if self.template is not None and self.preset == "cloudevents":
            raise ValueError(
                "template is given, and preset is cloudevents, which is the event as it is; choose json or text"
            )
        if self.template is not None and isinstance(self.template, str) == (self.preset == "json"):
            expected = "a table or a list" if self.preset == "json" else "text"
            raise ValueError(f"template is something else, expected {expected} with the preset {self.preset}")
        for name in self.headers:
            if not _HEADER.fullmatch(name):
                raise ValueError(f"headers: {name!r} is no name of a header")
            if name.lower() in _OURS:
                raise ValueError(f"headers: {name} is set by the subscriber itself")
        return self

    @field_serializer("url")
    def _shown(self, url: SecretStr) -> str:
        return shown_url(url.get_secret_value())


def shown_url(url: str) -> str:
    """Return what of a URL may be shown: no path, query or user, since any of these may be a secret."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "…"
    if "${" in parts.netloc or not host or not parts.scheme:
        return "…"
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}/…"


def origin(url: str) -> tuple[str, str | None, int | None]:
    """Return scheme, host and port of a URL, which together say which server it is."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def expanded(value: SecretStr, what: str) -> str:
    """Put environment variables in place of their names.

    Raises
    ------
    ValueError
        One is not set; ``what`` says where it is wanted.
    """

    def of(match: re.Match[str]) -> str:
        name = match[1]
        if name not in os.environ:
            raise ValueError(
                f"{what}: the environment variable {name} is not set; the service has those of /etc/streamcls/environment"
            )
        return os.environ[name]

    text = _VARIABLE.sub(of, value.get_secret_value())
    if any(ord(character) < ord(" ") or ord(character) == 0x7F for character in text):  # noqa: PLR2004 - DEL
        raise ValueError(f"{what}: it holds a line break or another control character")
    if not text.isascii() and what != "secret":
        raise ValueError(f"{what}: it holds characters that are not ASCII")
    return text


def server_url(value: SecretStr, what: str) -> str:
    """Return the address of a web server or proxy, environment variables put in.

    Raises
    ------
    ValueError
        A variable is not set, or it is no such address.
    """
    url = expanded(value, what)
    try:
        scheme, host, _ = origin(url)
    except ValueError:
        scheme, host = "", None
    if scheme not in {"http", "https"} or not host:
        raise ValueError(f"{what}: it is no address of a server; expected https://HOST/PATH or http://HOST:PORT")
    return url


def signing_key(config: WebhookConfig) -> bytes:
    """Return the key of the signature, empty where there is none.

    Raises
    ------
    ValueError
        It is not to be had; says why.
    """
    if config.secret is not None:
        key = expanded(config.secret, "secret").encode()
    elif config.secret_file:
        path = Path(config.secret_file)
        try:
            key = path.read_bytes().strip()
        except OSError as error:
            raise ValueError(f"secret_file {config.secret_file!r}: cannot be read: {error.strerror}") from error
    else:
        return b""
    if not key:
        raise ValueError("secret: it is empty")
    return key


def state_folder(name: str) -> Path:
    """Return the folder of that name among those that survive restarts."""
    given = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return (Path(given) if given else Path.home() / ".local" / "state" / "streamcls") / name
