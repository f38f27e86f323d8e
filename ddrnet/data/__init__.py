"""Data sets of street scenes, their transforms and their decoded cache."""
