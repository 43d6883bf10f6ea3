"""Time travel: the state of an aggregate at any moment, rebuilt from its events."""
