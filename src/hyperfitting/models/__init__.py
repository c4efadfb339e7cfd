"""Checkpoints in, logits out."""
