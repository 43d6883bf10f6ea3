"""Lint for events: rules that look at events, flows, payloads and groups, and report problems with sample events."""
