"""A concept across layers: cohorts, detectors and their nulls, matching of features, measured effects."""
