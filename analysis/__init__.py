"""What features do: where they fire, what they push towards, which concepts they stand for."""
