"""A language model, its hook points and its activations."""
