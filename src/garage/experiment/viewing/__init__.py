"""Seeing what a policy has learned, in a window or in a film, made by a process of its own."""
