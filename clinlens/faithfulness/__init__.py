"""`clinlens faithfulness`: how far each attribution method can be believed, on cases whose truth is known."""
