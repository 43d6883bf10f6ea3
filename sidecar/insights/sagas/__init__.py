"""Sagas: business processes over several services, declared in the configuration by the events of their steps."""
