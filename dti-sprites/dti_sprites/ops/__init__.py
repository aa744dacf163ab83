"""Tensor operations where the time goes. Each is tested against a plain reference, values and gradients."""
