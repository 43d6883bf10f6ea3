"""The catalog of events: which exist, who produces and consumes them, as the streams show it."""
