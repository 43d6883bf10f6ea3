"""Modal dialogs. Each returns a typed answer."""
