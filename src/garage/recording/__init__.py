"""Metrics and messages to console, log and CSV."""
