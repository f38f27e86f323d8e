"""Measures latency and memory from image file to label file, beside the plain pipeline."""
