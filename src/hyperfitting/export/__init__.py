"""A trained run in the form that other programs read, and the proof that it is still that run."""
