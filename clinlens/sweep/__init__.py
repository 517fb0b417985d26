"""Sweeps: many SAEs from one file in the schema of W&B sweeps, expanded and run here, without a network."""
