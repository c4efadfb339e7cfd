"""Versions that files name."""

DEFINITIONS_VERSION = 1  # of what the numbers of study and judge mean
