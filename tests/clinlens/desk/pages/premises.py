"""A server with the desk on it, whose jobs are done by a bench without torch; and a trace as `clinlens trace` writes it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn
from fastapi import FastAPI

from clinlens import clinic
from clinlens.desk.config import DeskConfig
from clinlens.desk.extension import desk
from clinlens.serve import listening
from labeling.database.connection import Database
from labeling.web.application import create
from labeling.web.config import WebConfig

HOSTILE = "<img src=x onerror=window.broken=1>"
TRACE = "heart-failure-0123456789abcdef"
NOTE = f"Patient admitted with acute heart failure and dyspnoea {HOSTILE} treated with furosemide .\nNo fever . Cough for days ."


class Place(NamedTuple):
    """Where the server listens."""

    app: FastAPI
    base: str
    run: Path


def application(
    folder: Path, port: int = 8765, database: Database | None = None, cfg: WebConfig | None = None, n_workers: int = 1
) -> FastAPI:
    """The application on an empty run; a second model is the first under another name."""
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "config.yaml").write_text(f"folder: {folder}\n")
    cfg = cfg or WebConfig(port=port, requests_per_minute=10**6)
    extension = desk(folder, {"clinic-second": clinic.model_folder()}, DeskConfig(n_workers=n_workers))

    def start(app: FastAPI) -> None:
        extension.start(app)
        app.state.desk.pool.bench = "tests.clinlens.desk.pages.quick_bench"

    return create(
        cfg, folder / "clinlens.db", run=folder, database=database, extensions=[extension._replace(start=start)]
    )


@contextmanager
def served(folder: Path) -> Iterator[Place]:
    """A server that listens."""
    with listening("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        app = application(folder, port)
        server = uvicorn.Server(
            uvicorn.Config(app, log_config=None, access_log=False, server_header=False, ws="websockets-sansio")
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        yield Place(app, f"http://127.0.0.1:{port}", folder)
        server.should_exit = True
        thread.join()
        app.state.clinlens.worker.close()


def job(text: str = NOTE, methods: tuple[str, ...] = ("attn_lrp", "occlusion"), **more: Any) -> dict[str, Any]:
    """The body of a request for a job."""
    given = {"text": text, "generate": more.pop("generate", 6)}
    return {
        "models": more.pop("models", ["clinic"]),
        "methods": list(methods),
        "input": given,
        "options": more.pop("options", {}),
        **more,
    }


def write_trace(run: Path) -> dict[str, Any]:
    """A trace of two layers, in the shape of docs/concept-trace.md."""
    layers, nodes = [], []
    for layer, auroc in enumerate((0.6, 0.9)):
        hook_point = f"blocks.{layer}.hook_resid_post"
        ids = [f"{hook_point}/{feature}" for feature in (7, 8)]
        nodes += [node_of(one, layer, auroc, number) for number, one in enumerate(ids)]
        layers.append({
            "layer": layer, "hook_point": hook_point, "n_features": 512, "n_active": 400,
            "detectors": [detector(kind, auroc) for kind in ("best_feature", "probe_5", "dense_probe", "bag_of_words")],
            "null": {"max_auroc_95": 0.66}, "is_above_null": layer > 0, "born": ids[1:] if layer else [], "vanished": [],
            "unmatched": [], "error_mass": {"positive": 0.25, "negative": 0.2},
        })  # fmt: skip
    links = [(0, 2, 0.9, 0.8, 0.5, 3), (0, 3, 0.1, 0.9, 0.01, 1), (1, 3, 0.1, 0.0, None, 0)]
    edges = [
        {
            "source": nodes[a]["id"], "target": nodes[b]["id"], "cosine": {"value": cosine, "null_95": 0.4},
            "coactivation": {"value": both, "null_95": 0.3}, "n_kinds_above_null": count,
            "causal": effect_of(effect),
        }
        for a, b, cosine, both, effect, count in links
    ]  # fmt: skip
    record = {
        "id": TRACE, "concept": {"name": "heart failure", "source": "spans", "definition": f"spans {HOSTILE}", "defined_by": []},
        "cohort": {"n_positive": 240, "n_negative": 600, "n_patients_positive": 200, "n_patients_negative": 500, "unit": "document",
                   "aggregation": "max", "n_documents": 840},
        "model": {"name": "clinic", "hash": "a" * 64}, "data": {"hash": "b" * 64, "store_id": "x"},
        "saes": [{"hook_point": one["hook_point"], "layer": one["layer"], "sae_id": "topk", "hash": "c" * 64} for one in layers],
        "null": {"max_auroc_95": 0.66, "n_permutations": 200}, "emerges_at": 1, "layers": layers, "nodes": nodes, "edges": edges,
        "causality": {
            "answer": {"kind": "log_prob", "after": None, "n_documents": 40},
            "ablation": [{"node": nodes[2]["id"], "layer": 1, "effect": -0.3, "interval": [-0.4, -0.2], "controls": [0.01, -0.02],
                          "control_95": 0.05, "share_of_controls_beyond": 0.0, "is_above_controls": True}],
        },
        "stability": {"n_matched": 3, "n_nodes": 4, "share": 0.75, "cosine": 0.7, "saes": []},
        "sentence": "“Heart failure” can be read from layer 1 on, with an AUROC of 0.90 (0.86 to 0.94).",
        "caveat": "It is an audit, not a clinical validation.", "notes": ["Nothing was steered."], "seed": 0,
        "settings": {"n_permutations": 200}, "code_version": "0", "created_at": "2026-11-21T12:00:00.000+00:00",
    }  # fmt: skip
    (run / "traces").mkdir(exist_ok=True)
    (run / "traces" / f"{TRACE}.json").write_text(json.dumps(record))
    return record


def effect_of(value: float | None) -> dict[str, Any] | None:
    """A measured effect; None where none was measured."""
    return (
        None
        if value is None
        else {"value": value, "interval": [value - 0.1, value + 0.1], "null_95": 0.2, "n_units": 90}
    )


def detector(kind: str, auroc: float) -> dict[str, Any]:
    """One detector's figures."""
    return {
        "kind": kind, "auroc": auroc, "auroc_interval": [auroc - 0.04, auroc + 0.04], "auprc": auroc - 0.1,
        "auprc_interval": [auroc - 0.15, auroc - 0.05], "features": [7], "firing_coverage": None if kind == "bag_of_words" else 0.7,
        "is_above_null": auroc > 0.66,
    }  # fmt: skip


def node_of(node: str, layer: int, auroc: float, number: int) -> dict[str, Any]:
    """One feature; the second of a layer is labelled by nobody."""
    label = {
        "leading": "diagnosis", "distribution": {"diagnosis": 0.6, "medication": 0.4}, "n_raters": 3, "entropy": 0.67,
        "consensus": {"diagnosis": 0.8, "medication": 0.2}, "is_ambiguous": True, "state": "rated",
        "words": [f"failing heart {HOSTILE}"],
    }  # fmt: skip
    strata = [
        {"attribute": "sex", "value": value, "auroc": 0.8, "interval": [0.7, 0.9], "firing": 0.3, "firing_interval": [0.2, 0.4],
         "n": 120, "n_positive": 40}
        for value in ("female", "male")
    ]  # fmt: skip
    return {
        "id": node, "layer": layer, "hook_point": node.rpartition("/")[0], "feature": int(node.rpartition("/")[2]),
        "auroc": auroc - 0.02 * number, "interval": [auroc - 0.05, auroc + 0.03], "auprc": 0.7,
        "firing": {"positive": 0.8, "negative": 0.05}, "rank": number, "label": label if number == 0 else None,
        "protected": strata if number == 0 else [], "is_flagged": number == 0, "flagged_for": ["sex"] if number == 0 else [],
    }  # fmt: skip
