"""The Kafka broker adapter."""
