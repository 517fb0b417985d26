"""Which input tokens matter to an answer, a feature or a class, by many methods on the same tokens.

Importing this package loads nothing heavy; `analysis.attribution.build.attribute` runs a method.
"""
