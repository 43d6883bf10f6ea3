"""Conversion of domain objects to the models of the API."""
