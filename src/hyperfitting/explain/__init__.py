"""Pure functions on why the tuned model differs: geometry, a static shift, kinds of tokens."""
