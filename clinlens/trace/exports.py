"""A trace for other tools: CSV, the attribution-graph shape, and the ribbon as SVG."""

import csv
import io
from pathlib import Path
from typing import Any

from sae import artefact

COLUMNS = (
    "layer", "hook_point", "detector", "auroc", "auroc_low", "auroc_high", "auprc", "auprc_low", "auprc_high",
    "firing_coverage", "features", "max_auroc_95", "is_above_null",
)  # fmt: skip
STYLES = {
    "best_feature": ("best single feature", "#0072b2", "o", "-"),
    "probe_1": ("probe on 1 feature", "#56b4e9", "v", ":"),
    "probe_5": ("probe on 5 features", "#009e73", "^", "--"),
    "probe_20": ("probe on 20 features", "#117733", "s", "-."),
    "dense_probe": ("probe on the whole stream", "#d55e00", "D", "-"),
    "difference_in_means": ("difference in means", "#cc79a7", "P", "--"),
    "bag_of_words": ("words alone", "#000000", "x", ":"),
}
"""Name, colour, marker and line. Colours: Okabe and Ito 2008, told apart by the colour-blind."""


def write(record: dict[str, Any], path: Path) -> list[Path]:
    """Writes all three beside the record.

    Args:
        record: The trace.
        path: Where it lies; other endings take the place of `.json`.
    """
    made = {".csv": table(record), ".svg": ribbon(record)}
    for ending, text in made.items():
        artefact.write_text(path.with_suffix(ending), text)
    artefact.write_json(path.with_suffix(".graph.json"), graph(record))
    return [path.with_suffix(ending) for ending in (*made, ".graph.json")]


def table(record: dict[str, Any]) -> str:
    """One row per layer and detector."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for layer in record["layers"]:
        for one in layer["detectors"]:
            ends = [one["auroc_interval"] or [None, None], one["auprc_interval"] or [None, None]]
            writer.writerow([
                layer["layer"], layer["hook_point"], one["kind"], one["auroc"], *ends[0], one["auprc"], *ends[1],
                one["firing_coverage"], " ".join(map(str, one["features"])), layer["null"]["max_auroc_95"], one["is_above_null"],
            ])  # fmt: skip
    return text.getvalue()


def graph(record: dict[str, Any]) -> dict[str, Any]:
    """The shape of attribution graphs, as circuit-tracer writes and Neuronpedia reads it.

    Nodes are features of the scan, links the pairs that are matched by two or three measures; a link's weight is the measured
    effect where there is one, else the co-activation. What that shape has no place for stands under `clinlens`.

    Source: circuit-tracer, circuit_tracer/frontend/graph_models.py (metadata, qParams, nodes, links).
    """
    linked = [edge for edge in record["edges"] if edge["n_kinds_above_null"] >= 2]
    nodes = [
        {
            "node_id": node["id"], "feature": node["feature"], "layer": str(node["layer"]), "ctx_idx": 0,
            "feature_type": "sae feature", "jsNodeId": node["id"],
            "clerp": node["label"]["leading"] if node["label"] else "", "influence": node["auroc"],
            "activation": node["firing"]["positive"], "is_target_logit": False, "token_prob": 0.0, "run_idx": 0,
            "reverse_ctx_idx": 0,
        }
        for node in record["nodes"]
    ]  # fmt: skip
    links = [
        {
            "source": edge["source"], "target": edge["target"],
            "weight": edge["causal"]["value"] if edge["causal"] else edge["coactivation"]["value"],
        }
        for edge in linked
    ]  # fmt: skip
    return {
        "metadata": {
            "slug": record["id"], "scan": record["model"]["name"], "prompt": record["concept"]["name"],
            "prompt_tokens": [record["concept"]["name"]], "node_threshold": None, "schema_version": 1,
        },
        "qParams": {"pinnedIds": [], "supernodes": [], "linkType": "both", "clickedId": "", "sg_pos": ""},
        "nodes": nodes,
        "links": links,
        "clinlens": {"sentence": record["sentence"], "caveat": record["caveat"], "saes": record["saes"], "seed": record["seed"]},
    }  # fmt: skip


def ribbon(record: dict[str, Any]) -> str:
    """AUROC by layer for every detector, intervals of the best feature, and the band of chance; the same bytes every time."""
    import matplotlib
    from matplotlib.figure import Figure

    layers = record["layers"]
    xs = list(range(len(layers)))
    with matplotlib.rc_context({"svg.hashsalt": record["id"], "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(7.2, 3.8), layout="constrained")
        ax = figure.add_subplot()
        ax.axhspan(
            0, record["null"]["max_auroc_95"], color="#bbbbbb", alpha=0.45, lw=0, label="chance, whole scan (95 %)"
        )
        for kind, (name, colour, marker, line) in STYLES.items():
            found = [next((one for one in layer["detectors"] if one["kind"] == kind), None) for layer in layers]
            if any(one is None for one in found):
                continue
            ax.plot(
                xs, [one["auroc"] for one in found if one], line, color=colour, marker=marker, ms=4, lw=1.3, label=name
            )
            if kind == "best_feature" and all(one and one["auroc_interval"] for one in found):
                low, high = zip(*(one["auroc_interval"] for one in found if one), strict=True)
                ax.fill_between(xs, low, high, color=colour, alpha=0.2, lw=0)
        lowest = min(one["auroc"] for layer in layers for one in layer["detectors"])
        ax.set(xlabel="layer", ylabel="AUROC on other patients", ylim=(min(0.45, lowest - 0.03), 1.02), xticks=xs)
        ax.set_xticklabels([str(layer["layer"]) for layer in layers])
        ax.set_title(record["concept"]["name"], loc="left")
        ax.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside right center", frameon=False)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
