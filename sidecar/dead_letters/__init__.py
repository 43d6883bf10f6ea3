"""Dead letters: writing them in several dialects, reading them from the brokers, grouping them, and their ledger."""
