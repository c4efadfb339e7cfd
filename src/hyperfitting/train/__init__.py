"""Train one method on fixed windows to near-zero loss."""
