"""Generates the chart's schema and its documented values."""
