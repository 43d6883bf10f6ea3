"""The HTTP server: routes, authentication, middleware and errors."""
