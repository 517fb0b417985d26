"""Audits of a model and its features: protected attributes, drift, failures, process. An audit, not a clinical validation."""
