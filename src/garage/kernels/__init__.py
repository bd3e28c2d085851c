"""Compiled parts: the arithmetic of small networks and of worlds in arrays, with the same bits on every processor."""
