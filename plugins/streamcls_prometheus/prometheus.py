"""Serves metrics and health over HTTP."""

from __future__ import annotations

import threading
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

from streamcls import StreamclsError
from streamcls_prometheus.config import PrometheusConfig, config_problems
from streamcls_prometheus.figures import Figures
from streamcls_prometheus.health import ailments
from streamcls_prometheus.server import Pages, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["PrometheusSubscriber"]


class PrometheusSubscriber:
    """Listens to everything and tells whoever asks. ``clock`` is monotonic, in seconds: the wall clock may be set."""

    name: ClassVar[str] = "prometheus"
    catches_up: ClassVar[bool] = False
    Config = PrometheusConfig

    def __init__(self, config: PrometheusConfig, clock: Callable[[], float] = time.monotonic) -> None:
        if find_spec("prometheus_client") is None:
            raise StreamclsError("prometheus-client is not installed: pip install 'streamcls[prometheus]'")
        from prometheus_client.exposition import choose_encoder
        from prometheus_client.registry import CollectorRegistry

        from streamcls_prometheus.collector import FigureCollector

        self._config = config
        self._clock = clock
        self._lock = threading.Lock()
        self._figures = Figures(clock, config.forget_s)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(FigureCollector(self._figures, self._lock, clock, lambda: not self._ailments()))

        def metrics(accept: str) -> tuple[str, bytes]:
            encode, content_type = choose_encoder(accept)
            return content_type, encode(registry)

        try:
            self._server: Server | None = Server(config.host, config.port, Pages(metrics, self.ailments))
        except OSError as error:
            raise StreamclsError(
                f"cannot listen at {config.host} port {config.port}: {error.strerror or error}; set another port"
            ) from error
        self.port: int = self._server.server_address[1]

    @staticmethod
    def binds(config: PrometheusConfig) -> list[str]:
        """Return the endpoint at which it listens."""
        return [f"tcp://[{config.host}]:{config.port}" if ":" in config.host else f"tcp://{config.host}:{config.port}"]

    @staticmethod
    def preflight(config: PrometheusConfig) -> list[str]:
        """Check all that can be told without opening the port."""
        return config_problems(config)

    def handle(self, event: Mapping[str, Any]) -> None:
        """Learn from an event."""
        with self._lock:
            self._figures.take(event)

    def ailments(self) -> list[str]:
        """Return what is wrong now, as ``/healthz`` does; may be called from any thread."""
        with self._lock:
            return self._ailments()

    def close(self) -> None:
        """Stop serving."""
        server, self._server = self._server, None
        if server is not None:
            server.close()

    def _ailments(self) -> list[str]:
        return ailments(self._figures, self._config, self._clock())
