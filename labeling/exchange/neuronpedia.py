"""Labels as explanations in Neuronpedia's shape: the fields of its `Explanation` record that describe one.

One row per feature with a physicians' label. `layer` is what Neuronpedia calls a source: number of the layer, then the
SAE's name. `typeName` says that people wrote it; `authorId` is a pseudonym of the panel, never a person.

Source: github.com/hijohnnylin/neuronpedia, apps/webapp/prisma/schema.prisma, model Explanation.
"""

import json
import re
from collections.abc import Sequence

from labeling.codebook import Codebook
from labeling.exchange.records import SoftLabelRecord

FILE = "neuronpedia-explanations.json"
TYPE_NAME = "physicians_consensus"
LAYER = re.compile(r"(?:^|\.)(\d+)\.")


def file(soft: Sequence[SoftLabelRecord], codebook: Codebook, models: dict[tuple[str, str], str], n: int) -> bytes:
    """The explanations of the primary field of one codebook version.

    Args:
        soft: Soft labels of the project.
        codebook: The version.
        models: What the model of an SAE is called, by hook point and SAE.
        n: Its number.
    """
    names = {category.code: category.name for category in codebook.question(codebook.primary).categories}
    rows = [
        {
            "modelId": models[one.hook_point, one.sae_id],
            "layer": source_id(one.hook_point, one.sae_id),
            "index": str(one.feature),
            "description": names[one.leading],
            "authorId": "clinlens-panel",
            "typeName": TYPE_NAME,
            "explanationModelName": None,
            "notes": f"{one.n} physicians; probability {one.posterior[one.leading]:.2f}, entropy {one.entropy:.2f} bits; "
            f"codebook {codebook.sha256[:12]}",
        }
        for one in soft
        if one.field == codebook.primary and one.codebook == n
    ]
    rows.sort(key=lambda row: (row["modelId"], row["layer"], int(row["index"] or 0)))
    return (json.dumps(rows, indent=1, ensure_ascii=False) + "\n").encode()


def source_id(hook_point: str, sae_id: str) -> str:
    """The layer's number and the SAE's name."""
    found = LAYER.search(f"{hook_point}.")
    return f"{found[1] if found else hook_point}-{sae_id}"
