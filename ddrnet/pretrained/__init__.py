"""Pretrained weights: fetched, verified, converted, cached; models saved and published.

Importing this package loads no torch; `ddrnet.pretrained.cache` never does.
"""
