"""``listen`` and ``subscribe``: the events of a daemon, here or on another machine."""

from __future__ import annotations

import json
import logging
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from streamcls.cli import completion

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamcls.bus import EventClient
    from streamcls.interfaces import Subscriber

__all__ = ["register"]

_DEFAULT: Final = "tcp://127.0.0.1:5757"
_POLL_S: Final = 0.2
_SILENT_S: Final = 20.0
_FILE: Final = click.Path(path_type=Path, exists=True, dir_okay=False)
_HEARTBEAT: Final = "daemon.heartbeat"

_log = logging.getLogger("streamcls.listen")


def _endpoint(function: Callable[..., Any]) -> Callable[..., Any]:
    option = click.option(
        "--from",
        "endpoint",
        metavar="ENDPOINT",
        default=_DEFAULT,
        show_default=True,
        help="Where the daemon publishes.",
    )
    return option(function)


def _filters(function: Callable[..., Any]) -> Callable[..., Any]:
    kind = click.option(
        "--kind",
        "kinds",
        multiple=True,
        metavar="KIND",
        shell_complete=completion.kinds,
        help="A kind or its beginning, e.g. moderation or genre.segment; repeatable.",
    )
    stream = click.option(
        "--stream",
        "streams",
        multiple=True,
        metavar="NAME",
        shell_complete=completion.streams,
        help="A stream's name or a shell pattern; repeatable.",
    )
    return stream(kind(function))


def _past(function: Callable[..., Any]) -> Callable[..., Any]:
    cursor = click.option(
        "--cursor",
        metavar="NAME",
        help="Go on where the last run with this name was, and keep the place; events come at least once.",
    )
    since_open = click.option(
        "--since-open", is_flag=True, help="Begin with the segments and alerts that are open, and the streams' states."
    )
    keys = click.option(
        "--keys", "keys_file", type=_FILE, metavar="FILE", help="Client's keys, as streamcls keys add made them."
    )
    return cursor(since_open(keys(function)))


def _echo(event: dict[str, Any]) -> None:
    click.echo(json.dumps(event, ensure_ascii=False, separators=(",", ":")))


@click.command("listen", short_help="Print the events of a running daemon.")
@_endpoint
@_filters
@_past
@click.option("--json", "as_json", is_flag=True, help="The events as they are on the wire, one JSON a line.")
@click.option("--count", type=click.IntRange(min=1), help="Stop after so many events.")
def listen(  # noqa: PLR0917 - click passes them by name
    endpoint: str,
    kinds: tuple[str, ...],
    streams: tuple[str, ...],
    cursor: str | None,
    keys_file: Path | None,
    count: int | None,
    *,
    since_open: bool,
    as_json: bool,
) -> int:
    """Print the events of a running daemon until interrupted.

    Heartbeats are printed only with --json or where --kind asks for them. What does not arrive is asked for again; what is lost for
    good is said on standard error, and the exit status is then 1.
    """
    client = _client(endpoint, kinds, streams, cursor, keys_file, "listen", since_open=since_open)
    if as_json:
        return _follow(client, lambda event, _: _echo(event), count)
    heartbeats = any(_HEARTBEAT.startswith(kind) or kind.startswith(_HEARTBEAT) for kind in kinds if kind)
    console = _subscriber("console", {"heartbeats": heartbeats})

    def show(event: dict[str, Any], _: Callable[[float], bool]) -> bool:
        if not heartbeats and event["type"] == f"streamcls.{_HEARTBEAT}":
            return False
        console.handle(event)
        return True

    return _follow(client, show, count)


@click.command("subscribe", short_help="Run a subscriber plugin on its own.")
@click.argument("name", shell_complete=completion.subscribers)
@_endpoint
@_filters
@_past
@click.option(
    "--config", "config_file", type=_FILE, help="TOML file whose top-level keys are the subscriber's settings."
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="One setting, its value in TOML or plain text; repeatable.",
)
def subscribe(  # noqa: PLR0917 - click passes them by name
    name: str,
    endpoint: str,
    kinds: tuple[str, ...],
    streams: tuple[str, ...],
    cursor: str | None,
    keys_file: Path | None,
    config_file: Path | None,
    settings: tuple[str, ...],
    *,
    since_open: bool,
) -> int:
    """Run the subscriber plugin NAME on its own, against a daemon here or elsewhere.

    With --cursor it can be stopped for hours: it then goes on where it was. Where its server is away or its disk full, it waits, and
    takes the event at hand as soon as it can. An event on which it raises three times is given up and named; the exit status is then 1.
    """
    import tomllib

    from streamcls.errors import ConfigError, Problem
    from streamcls.runtime.complaints import Complaints
    from streamcls.runtime.subscribers import handle_guarded

    options: dict[str, Any] = {}
    if config_file is not None:
        try:
            options = tomllib.loads(config_file.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError([Problem(str(config_file), f"cannot be read: {error.strerror}")]) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError([Problem(str(config_file), f"is no valid TOML: {error}")]) from error
    client = _client(endpoint, kinds, streams, cursor, keys_file, name, since_open=since_open)
    subscriber = _subscriber(name, options | dict(_setting(text) for text in settings))
    complaints, refused = Complaints(_log.error), 0

    def take(event: dict[str, Any], pause: Callable[[float], bool]) -> bool:
        nonlocal refused
        if not handle_guarded(name, subscriber, event, pause, complaints.complain):
            refused += 1
            return False
        complaints.recovered(f"subscriber {name} takes events again")
        return True

    try:
        status = _follow(client, take)
    finally:
        subscriber.close()
    if refused:
        _log.warning("subscriber %s did not take %d events in all", name, refused)
    return 1 if refused else status


def _subscriber(name: str, options: dict[str, Any]) -> Subscriber:
    """Make a subscriber plugin from its settings."""
    from pydantic import ValidationError

    from streamcls.config.problems import did_you_mean, problems_of
    from streamcls.errors import ConfigError, PluginError, Problem
    from streamcls.plugins import discover

    known = discover().subscribers
    if name not in known:
        raise click.UsageError(f"no subscriber {name!r}: {did_you_mean(name, known)}")
    component: Any = known[name]
    try:
        config = component.Config.model_validate(options)
    except ValidationError as error:
        raise ConfigError(problems_of(error, component.Config, options), f"subscriber {name}") from error
    preflight = getattr(component, "preflight", None)
    if preflight is not None and (sentences := preflight(config)):
        raise ConfigError([Problem(name, sentence) for sentence in sentences], f"subscriber {name}")
    try:
        subscriber: Subscriber = component(config)
    except Exception as error:
        raise PluginError(f"subscriber {name!r} cannot be made: {type(error).__name__}: {error}") from error
    return subscriber


def _setting(text: str) -> tuple[str, Any]:
    import tomllib

    key, equals, value = text.partition("=")
    if not equals or not key:
        raise click.UsageError(f"--set {text!r}: expected KEY=VALUE")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


def _client(  # noqa: PLR0917 - one for each option
    endpoint: str,
    kinds: tuple[str, ...],
    streams: tuple[str, ...],
    cursor: str | None,
    keys_file: Path | None,
    name: str,
    *,
    since_open: bool,
) -> EventClient:
    """Make the client that the options ask for."""
    from streamcls.bus import Cursor, EventClient
    from streamcls.bus.keys import load_client_keys
    from streamcls.config.resolve import state_folder

    return EventClient(
        endpoint,
        kinds=kinds,
        streams=streams,
        name=cursor or name,
        cursor=None if cursor is None else Cursor(state_folder() / "cursors", cursor),
        begin="snapshot" if since_open else "now",
        curve=None if keys_file is None else load_client_keys(keys_file),
    )


def _follow(
    client: EventClient, take: Callable[[dict[str, Any], Callable[[float], bool]], object], count: int | None = None
) -> int:
    """Receive until interrupted or ``count`` events were taken; return 1 where some are lost for good.

    ``take`` is given an event and what waits for so many seconds, True where it was interrupted. It returns False where it passes over
    the event, which is then not counted, and raises SubscriberBusyError where it was interrupted and the event is to come again.
    """
    import time

    from streamcls.errors import SubscriberBusyError
    from streamcls.service.logs import configure_logs

    configure_logs("info")
    stop = threading.Event()
    previous = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    taken, last, warned = 0, time.monotonic(), False
    try:
        with client:
            while not stop.is_set() and (count is None or taken < count):
                event = client.receive(_POLL_S)  # which says what is lost
                if event is None:
                    if not warned and not taken and time.monotonic() - last > _SILENT_S:
                        warned = True
                        _log.warning(
                            "nothing from %s for %.0f s; is the daemon running, do the filters match, and does it want a key (--keys)?",
                            client.endpoint,
                            _SILENT_S,
                        )
                    continue
                try:
                    taken += take(event, stop.wait) is not False
                except SubscriberBusyError:  # it has the event from its cursor the next time
                    break
            else:
                client.commit()
            if client.missed:
                _log.warning("%d events were lost on the way", client.missed)
            return 1 if client.losses else 0
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def register(cli: click.Group) -> None:
    """Add the commands."""
    cli.add_command(listen)
    cli.add_command(subscribe)
