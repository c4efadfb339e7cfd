"""The whole job in one command: from a looping model to one that does not loop, verified."""
