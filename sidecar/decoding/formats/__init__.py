"""Schema formats. Each one compiles schemas, then decodes and checks payloads."""
