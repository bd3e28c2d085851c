"""Policies and value functions that learn in TensorFlow, in graph mode."""
