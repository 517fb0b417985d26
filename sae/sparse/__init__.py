"""Training steps that compute with the active features only."""
