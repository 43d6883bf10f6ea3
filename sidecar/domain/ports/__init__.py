"""Protocols of everything outside the sidecar: brokers, registries, indexes, history, exporters.

Each docstring is a promise. One contract suite per port checks it on the in-memory adapter and on the real server.
"""
