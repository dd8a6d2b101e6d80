"""Spans and counters that the runtime writes by itself; silent unless an OTLP endpoint is named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from openclaw_dagster.settings import variable

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

#: Values a span may carry: names and numbers, never payload text.
Attributes = Mapping[str, str | int | float | bool]


def exporting() -> bool:
    """Tell whether the process environment names a place to send telemetry to."""
    return (
        variable("OTEL_EXPORTER_OTLP_ENDPOINT") is not None
        or variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") is not None
    )


@lru_cache(maxsize=1)
def _tracer() -> Tracer:
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": "openclaw"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return trace.get_tracer("openclaw_dagster")


@contextmanager
def span(name: str, attributes: Attributes, *, parent: str | None = None) -> Iterator[None]:
    """Record that something was done and how long it took; `parent` is a W3C traceparent."""
    if not exporting():
        yield
        return
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    context: Any = TraceContextTextMapPropagator().extract({"traceparent": parent}) if parent else None
    with _tracer().start_as_current_span(name, context=context, attributes=dict(attributes)):
        yield


def traceparent() -> str | None:
    """Return the W3C traceparent of the current span, to be handed on."""
    if not exporting():
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")
