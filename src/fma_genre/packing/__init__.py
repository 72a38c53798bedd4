"""Packing of music in folders or lists into a data set for the pipeline. Only src/pack.py imports this package."""
