"""Writes a model as one file for other runtimes, and checks the file against the model."""
