"""The vocabulary of Tracecar as types and pure functions. Imports nothing else of the project."""
