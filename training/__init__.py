"""Fitting many sparse autoencoders, evaluating them, and running work."""
