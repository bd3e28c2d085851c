"""Policies and value functions that learn in PyTorch."""
