"""A classifier of texts, loaded with its head: encoders are opened without one everywhere else."""

from dataclasses import replace

import torch
from transformers import AutoModelForSequenceClassification

from hooks.model import LanguageModel
from sae.errors import UserError

NO_TOKEN = -1
"""Padding of a model that names none: rows here have none, but transformers' decoders take several only with a name."""


def with_head(lm: LanguageModel) -> LanguageModel:
    """The same model with the classification head that lies in its folder.

    Raises:
        UserError: The folder holds none.
    """
    model, found = AutoModelForSequenceClassification.from_pretrained(
        lm.folder, dtype=lm.dtype, use_safetensors=True, trust_remote_code=False, output_loading_info=True
    )
    if found["missing_keys"]:
        raise UserError(
            f"{lm.folder} has no weights for a classification head (it lacks {sorted(found['missing_keys'])[0]}), expected a "
            "classifier. Name one, or explain a feature (--feature)."
        )
    torch.nn.Module.to(model, lm.device)
    model.eval().requires_grad_(False)
    config = model.config.get_text_config()
    if config.pad_token_id is None:
        config.pad_token_id = NO_TOKEN
    return replace(lm, model=model)
