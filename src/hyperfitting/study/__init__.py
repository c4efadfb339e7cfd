"""Several arms side by side: run them, score them, put numbers and intervals together."""
