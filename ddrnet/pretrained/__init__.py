"""Fetches, verifies and caches pretrained weights; reads and writes saved models."""
