"""Exported graphs: made from a model, described in their file, and run for the predictor."""
