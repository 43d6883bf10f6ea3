"""Dead letters: writing in several dialects, reading from the brokers, grouping, and ledger entries."""
