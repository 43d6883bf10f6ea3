"""Decoding of records to events: wire formats, schema formats, envelope fields and trace context."""
