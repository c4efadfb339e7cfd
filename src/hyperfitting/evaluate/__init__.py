"""What `hyperfit evaluate` runs: generate, score, measure and test."""
