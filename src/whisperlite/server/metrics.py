"""Metrics for Prometheus. Each application has its own registry, so two in one process are counted separately."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from whisperlite.results import Usage

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The counters of one service, which any thread may increment.

    Attributes:
        failures: the number of failed requests, by kind.
        deliveries: the number of attempts to deliver a webhook, by outcome.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "whisperlite_requests", "Answers, by path and status.", ["path", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "whisperlite_request_seconds",
            "From the headers of a request to the last byte of its answer.",
            ["path"],
            buckets=(0.01, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800),
            registry=self.registry,
        )
        self.failures = Counter("whisperlite_failures", "Failures, by kind.", ["kind"], registry=self.registry)
        self.deliveries = Counter(
            "whisperlite_webhook_attempts", "Attempts to deliver webhooks.", ["outcome"], registry=self.registry
        )
        self._audio = Counter("whisperlite_audio_seconds", "Seconds of recordings done.", registry=self.registry)
        self._tokens = Counter("whisperlite_tokens_generated", "Tokens generated.", registry=self.registry)
        self._factor = Histogram(
            "whisperlite_real_time_factor",
            "Run time of a request over the length of its recording.",
            buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
            registry=self.registry,
        )

    def watch(self, name: str, help: str, value: Callable[[], float]) -> None:
        """Add a gauge whose value is read at each scrape."""
        Gauge(name, help, registry=self.registry).set_function(value)

    def answered(self, path: str, status: int, seconds: float) -> None:
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def transcribed(self, usage: Usage) -> None:
        self._audio.inc(usage.audio_ms / 1000)
        self._tokens.inc(usage.tokens_generated)
        if usage.audio_ms:
            self._factor.observe(usage.runtime_ms / usage.audio_ms)

    def text(self) -> bytes:
        return generate_latest(self.registry)
