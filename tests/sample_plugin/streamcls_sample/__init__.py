"""One of everything: a source, a backend, a policy, a folder of bundles and a command."""

from __future__ import annotations

from pathlib import Path

from streamcls import hookimpl

__all__ = ["register_backends", "register_commands", "register_model_paths", "register_policies", "register_sources"]


@hookimpl
def register_sources():
    """Offer the source ``tones``."""
    from streamcls_sample.tones import Tones

    return [Tones]


@hookimpl
def register_backends():
    """Offer the backend ``matrix``."""
    from streamcls_sample.matrix import MatrixBackend

    return [MatrixBackend]


@hookimpl
def register_policies():
    """Offer the policy ``steady``."""
    from streamcls_sample.steady import Steady

    return [Steady]


@hookimpl
def register_model_paths():
    """Offer the bundle ``pitch``."""
    return [Path(__file__).parent / "models"]


@hookimpl
def register_commands(cli):
    """Add ``streamcls greet``."""
    import click

    @cli.command("greet")
    @click.argument("name")
    def greet(name):
        """Say hello to NAME."""
        click.echo(f"hello, {name}")
