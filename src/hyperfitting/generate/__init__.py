"""Continue contexts token by token."""
