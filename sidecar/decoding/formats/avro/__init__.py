"""The Avro schema format."""
