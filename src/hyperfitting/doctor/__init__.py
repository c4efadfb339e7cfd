"""What is wrong with texts before a model is trained on them, and what to change, in commands."""
