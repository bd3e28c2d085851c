"""Bytes that survive: packs, manifests, retention, verification. Knows nothing of reinforcement learning."""
