"""Questions that are asked over a screen; each returns a typed answer."""
