"""From the options of the command line to a record, its exports, and a few lines to read."""

from pathlib import Path
from typing import Any

from analysis.tracing.config import TraceConfig
from clinlens import config as configs
from clinlens.assigned import assigned
from clinlens.pipeline import Run
from clinlens.trace import exports
from clinlens.trace.trace import Asked, trace_run


def trace_command(place: Path, given: dict[str, Any]) -> dict[str, Any]:
    """Runs the verb.

    Args:
        place: A run folder, or its config.
        given: The command line's options by name.

    Returns:
        The record, and the files written.
    """
    asked = Asked(
        given["concept"], given["spans"], given["words"], given["is_from_labels"], given["sae"], given["at"],
        tuple(given["attributes"]), not given["is_unablated"], not given["is_fresh"],
    )  # fmt: skip
    record, path = trace_run(Run(configs.read(place)), asked, assigned(TraceConfig, given["settings"]))
    return {"record": record, "files": [str(path), *map(str, exports.write(record, path))]}


def lines(found: dict[str, Any]) -> list[str]:
    """The trace for people."""
    record = found["record"]
    rows = [
        record["sentence"],
        "",
        f"{'layer':>5}  {'best feature':>12}  AUROC on other patients   sparse probes (1, 5, 20)   dense",
    ]
    for layer in record["layers"]:
        by_kind = {one["kind"]: one for one in layer["detectors"]}
        best = by_kind["best_feature"]
        low, high = best["auroc_interval"] or (float("nan"), float("nan"))
        probes = "  ".join(f"{by_kind[f'probe_{k}']['auroc']:.3f}" for k in (1, 5, 20))
        mark = "" if layer["is_above_null"] else "  within chance"
        rows.append(
            f"{layer['layer']:5}  {best['features'][0]:12}  {best['auroc']:.3f} [{low:.3f}, {high:.3f}]     {probes}      "
            f"{by_kind['dense_probe']['auroc']:.3f}{mark}"
        )
    notes = [f"note: {one}" for one in record["notes"]]
    flagged = [
        f"flagged: {one['id']} for {', '.join(one['flagged_for'])}" for one in record["nodes"] if one["is_flagged"]
    ]
    return [*rows, *flagged, *notes, record["caveat"], *(f"wrote {path}" for path in found["files"])]
