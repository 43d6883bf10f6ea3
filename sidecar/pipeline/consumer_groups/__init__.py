"""Progress of other consumer groups on the watched streams."""
