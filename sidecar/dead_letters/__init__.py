"""Dead letters: what they are called, how they are written, how they are found again."""
