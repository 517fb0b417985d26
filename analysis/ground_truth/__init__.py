"""Texts and models of which it is known beforehand which tokens decide the answer."""
