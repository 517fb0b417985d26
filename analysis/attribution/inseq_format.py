"""Records in Inseq's own JSON: `inseq.FeatureAttributionOutput.load` reads them.

Inseq has one output per text and method: for decoders prompt and answer are one target sequence, with one column of scores
per answer token and NaN where a token comes later than what it would explain.

Source: Inseq 0.7.1, data/attribution.py and utils/serialization.py; tensors are base64 of a safetensors file.
"""

import base64
from typing import Any

import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor

SEQUENCE = ("inseq.data.attribution", "CoarseFeatureAttributionSequenceOutput")
OUTPUT = ("inseq.data.attribution", "FeatureAttributionOutput")
TOKEN = ("inseq.utils.typing", "TokenWithId")


def exported(records: list[dict[str, Any]], method: str) -> dict[str, Any]:
    """One method's results on all cases, as Inseq saves them."""
    pairs = [(one, result) for one in records for result in one["results"] if result["method"] == method]
    info = {
        "attribution_method": method,
        "model_name": pairs[0][1]["model"] if pairs else None,
        "input_texts": [one["input"]["text"] for one, _ in pairs],
        "generated_texts": [one["input"]["text"] + result["output"]["text"] for one, result in pairs],
        "attribute_target": False,
        "constrained_decoding": True,
    }
    sequences = [sequence(one, result) for one, result in pairs]
    return instance(OUTPUT, {"sequence_attributions": sequences, "step_attributions": None, "info": info})


def sequence(record: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """One text's scores."""
    given, labels = record["input"], result["output"]["tokens"]
    answer_ids = result["origin"]["target"].get("token_ids", [-1] * len(labels))
    answer_ids = answer_ids if len(answer_ids) == len(labels) else [-1] * len(labels)
    prompt = [token(text, one) for text, one in zip(given["tokens"], given["token_ids"], strict=True)]
    answer = [token(text, one) for text, one in zip(labels, answer_ids, strict=True)]
    scores = torch.full((len(prompt) + len(answer), len(answer)), float("nan"))
    scores[: len(prompt)] = torch.tensor(result["attribution"]["raw"])
    for column in range(len(answer)):
        scores[len(prompt) : len(prompt) + column, column] = 0.0  # given as it is, so not attributed
    steps = {name: packed(torch.tensor(value)) for name, value in result["step_scores"].items() if name != "score"}
    return instance(
        SEQUENCE,
        {
            "source": prompt, "target": [*prompt, *answer], "source_attributions": None,
            "target_attributions": packed(scores), "step_scores": steps, "sequence_scores": {},
            "attr_pos_start": len(prompt), "attr_pos_end": len(prompt) + len(answer), "_aggregator": [],
            "_dict_aggregate_fn": {}, "_attribution_dim_names": {}, "_num_dimensions": 2,
        },
    )  # fmt: skip


def token(text: str, token_id: int) -> dict[str, Any]:
    """A token with its number."""
    return instance(TOKEN, {"token": text, "id": token_id})


def instance(kind: tuple[str, str], attributes: dict[str, Any]) -> dict[str, Any]:
    """An object of one of Inseq's classes."""
    return {"__instance_type__": list(kind), "attributes": attributes}


def packed(values: Tensor) -> str:
    """A tensor as text."""
    return base64.b64encode(to_safetensors({"attribution": values.float().contiguous()})).decode()
