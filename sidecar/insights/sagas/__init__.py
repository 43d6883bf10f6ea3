"""Sagas: business processes that are declared by their events, followed through the events, and judged by deadlines."""
