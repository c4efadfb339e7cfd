"""The controls of `hyperfit explain`: each runs two models and returns what its JSON file says."""
