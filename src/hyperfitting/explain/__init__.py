"""What `hyperfit explain` runs: the controls on a tuned model and its original."""
