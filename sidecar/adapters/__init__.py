"""Everything that talks to a server: brokers, schema registries, indexes."""
