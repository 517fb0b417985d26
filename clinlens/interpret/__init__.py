"""`clinlens interpret`: features explained by a language model behind an endpoint, or by a local one."""
