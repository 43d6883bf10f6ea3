"""What commands print: tables, trees, progress."""
