"""Why does a model loop, and what is the cheapest thing that would help? Nothing is trained."""
