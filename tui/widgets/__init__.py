"""What screens are made of. Widgets post typed messages; only screens act on them."""
