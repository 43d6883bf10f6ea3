"""Lint for events: rules that look at events, flows, payloads and groups, and report what is wrong, with evidence."""
