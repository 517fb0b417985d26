"""What a language model says of features, and how good what it says is."""
