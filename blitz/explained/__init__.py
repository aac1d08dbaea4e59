"""Explanations that run, to which PyTorch is held on generated cases."""
