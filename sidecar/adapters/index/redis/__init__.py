"""The index of recent events that several sidecars share in Valkey or Redis."""
