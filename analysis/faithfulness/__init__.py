"""How far an attribution can be believed: measured by changing the text and the model."""
