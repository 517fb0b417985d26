"""`clinlens audit`: protected attributes, drift, failures and process of a run."""
