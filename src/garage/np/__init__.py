"""The ports answered by NumPy."""
