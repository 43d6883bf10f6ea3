"""Broker adapters, one package for each broker."""
