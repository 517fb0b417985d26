"""`clinlens attribute`: which tokens matter, on texts that a person names."""
