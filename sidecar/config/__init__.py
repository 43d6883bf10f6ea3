"""The configuration: its schema, its loader and its validation."""
