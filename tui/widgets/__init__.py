"""Widgets of the screens. Widgets post typed messages; only screens act on them."""
