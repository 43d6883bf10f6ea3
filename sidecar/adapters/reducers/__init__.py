"""Reducers of the operator's own code, in processes of their own."""
