"""Exporters of traces, metrics and logs about events, for OTLP and Zipkin."""
