"""`clinlens quality`: the measures of a run's autoencoders."""
