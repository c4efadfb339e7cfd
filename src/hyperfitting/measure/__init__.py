"""Pure functions: tokens or logits in, numbers out. No model, no file, no global state."""
