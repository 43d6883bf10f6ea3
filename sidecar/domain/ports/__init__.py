"""What the sidecar needs from the world, as protocols.

Each docstring is a promise. One contract suite per port checks it on the in-memory adapter and on the real server.
"""
