"""One picture of all events: those of the index and those of the history, as if all were held in one place."""
