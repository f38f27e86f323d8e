"""Reads the files that `ddrnet.export` writes, for the predictor."""
