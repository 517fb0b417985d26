"""Views of attribution matrices: sums, scales, comparisons and figures, in numpy alone. One file per noun.

Source: Kaiser, "Token attribution visualisation" (TUM 2025); each formula stands beside its number. A matrix is A [n, t]:
input tokens × output tokens.
"""
