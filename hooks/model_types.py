"""Which model types, as a config.json names them, are encoders and which read images. Importing it loads nothing heavy."""

ENCODERS = frozenset({"bert", "roberta", "xlm-roberta", "electra", "modernbert"})

TOWERS = {
    "clip": "CLIPVisionModel",
    "clip_vision_model": "CLIPVisionModel",
    "siglip": "SiglipVisionModel",
    "siglip_vision_model": "SiglipVisionModel",
    "vit": "ViTModel",
    "dinov2": "Dinov2Model",
}
"""Model types that read images → the class of transformers that is their vision tower alone."""
