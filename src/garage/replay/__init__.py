"""Replay buffers: what remembers transitions."""

from garage.replay.uniform import ReplayBuffer

__all__ = ["ReplayBuffer"]
