"""From a text source to training windows and held-out contexts."""
