"""Policies and value functions that learn in TensorFlow, in graph mode."""

from garage import process
from garage.tf.framework import TensorFlowFramework

process.register(TensorFlowFramework())
