"""Finds image files and turns images into label maps."""
