"""Use cases behind the API."""
