"""The embedded default: a small synthetic clinic whose every answer is known.

The clinic writes notes by rules (`notes.generate`), and a small decoder was trained on them (`model_folder()`).
Because the rules are ours, each note says which words decide its diagnosis, and each twin says what changes if one of
them changes. That is a ground truth for features, attributions and traces. Nothing here describes a real patient, and
nothing here is medical advice.

Importing this package loads neither torch nor transformers.
"""

from pathlib import Path


def model_folder() -> Path:
    """The folder of the packaged decoder: weights, tokenizer, training log and model card.

    `AutoModelForCausalLM.from_pretrained(model_folder())` loads it without a network.

    Raises:
        FileNotFoundError: the folder holds no complete model.
    """
    folder = Path(__file__).resolve().parent / "model"
    if not (folder / "README.md").is_file():  # the card is written last, so its existence means completion
        raise FileNotFoundError(
            f"{folder} holds no complete clinic model. "
            "Reinstall clinlens, or run `python -m clinlens.clinic.train_model`."
        )
    return folder


__all__ = ["model_folder"]
