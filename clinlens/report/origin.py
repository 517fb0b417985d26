"""Where a run comes from and what it took, as tables."""

from typing import Any

from clinlens.report.cost import Estimate, Stage
from clinlens.report.gather import RunResult
from clinlens.report.summary import n_tokens
from clinlens.report.tables import PLACE, Column, Table, named, significant, texts
from training.config import CostConfig

PAIR = [Column("What", is_number=False), Column("Value", is_number=False)]


def flat(value: Any, name: str = "") -> dict[str, str]:
    """Nested settings as `section.key: value`."""
    if isinstance(value, dict):
        return {
            key: text
            for part, inner in value.items()
            for key, text in flat(inner, f"{name}.{part}" if name else part).items()
        }
    if isinstance(value, list):
        return {name: ", ".join(map(str, value))}
    return {name: "not set" if value is None else str(value)}


def pairs(caption: str, values: dict[str, str]) -> Table:
    """A table of names and values."""
    return Table(caption, PAIR, [texts(name, value) for name, value in values.items()])


def store_table(run: RunResult) -> Table:
    """Model, corpus, settings of the capture and size of the store."""
    manifest = run.manifest
    values = {"store_id": str(manifest["store_id"])} | flat(manifest["origin"])
    for split in dict.fromkeys(shard["split"] for shard in manifest["shards"]):
        documents = sum(shard["n_documents"] for shard in manifest["shards"] if shard["split"] == split)
        values[f"{split} split"] = f"{documents:,} documents, {n_tokens(run, split):,} tokens, special ones included"
    dtypes = {name: {shard["dtypes"][name] for shard in manifest["shards"]} for name in manifest["hook_points"]}
    for name, width in manifest["hook_points"].items():
        values[name] = f"{width} wide, stored as {' and '.join(sorted(dtypes[name]))}"
    return pairs("The activation store: model, corpus, capture", values)


def version_table(run: RunResult) -> Table:
    """Seeds and versions of what made the run."""
    first = run.saes[0]
    machine = (run.resources or {}).get("machine", {})
    values = {
        "seed": str(run.seed),
        "clinlens": machine.get("clinlens"),
        "python": machine.get("python"),
        "torch": first.origin.get("torch") or machine.get("torch"),
        "sae_lens format": first.cfg.get("metadata", {}).get("sae_lens_version"),
        "platform": machine.get("platform"),
    }
    return pairs("Seed and versions", {name: value or "not recorded" for name, value in values.items()})


def sae_table(run: RunResult) -> Table:
    """Name, settings and data of every autoencoder."""
    columns = [
        *PLACE,
        Column("Id", "its folder, with a hash of all that decides it", is_number=False),
        Column("Settings", is_number=False),
        Column("Rows", "of the store, kept for training"),
        Column("Left out", "special tokens, outliers"),
        Column("Input scale", "folded into the weights"),
        Column("Seed"),
    ]
    rows = []
    for sae in run.saes:
        counts = sae.origin.get("rows", {})
        settings = ", ".join(
            f"{key} {value}" for key, value in flat(sae.origin["sae"]).items() if key != "architecture"
        )
        rows.append(
            named(
                run, sae, sae.sae_id, settings,
                f"{counts.get('kept', 0):,}",
                f"{counts.get('special', 0):,} and {counts.get('outlier', 0):,}",
                significant(float(sae.origin.get("input_scale", 1.0)), 5),
                str(sae.origin.get("seed", run.seed)),
            )
        )  # fmt: skip
    return Table("The sparse autoencoders", columns, rows, n_headers=2)


def training_settings_table(run: RunResult) -> Table:
    """Settings of the training, from the first autoencoder; all of a run share them."""
    return pairs("Training settings", flat(run.saes[0].origin.get("training", {})))


def machine_table(machine: dict[str, Any]) -> Table:
    """What the run was made on."""
    values = {
        "processor": str(machine["cpu"]),
        "cores": str(machine["n_cores"]),
        "memory": gib(machine["memory_bytes"]),
        "GPU": machine["gpu"] or "none",
        "system": str(machine["platform"]),
    }
    return pairs("Machine", values)


def stage_table(stages: list[Stage]) -> Table:
    """Time and memory of every stage."""
    columns = [
        Column("Stage", is_number=False),
        Column("Sessions", "times it was started"),
        Column("Wall time"),
        Column("CPU time", "summed over cores"),
        Column("GPU time", "while a GPU was at hand, busy or not"),
        Column("Peak memory", "all processes, largest session"),
    ]
    rows = [
        texts(s.name, str(s.n_sessions), duration(s.wall_s), duration(s.cpu_s), duration(s.gpu_s), gib(s.peak_bytes))
        for s in stages
    ]
    return Table("Measured time and memory", columns, rows)


def estimate_table(found: Estimate, cfg: CostConfig) -> Table:
    """The estimates, each with the factors it rests on."""
    core_hours, gpu_hours = significant(found.cpu_core_hours), significant(found.gpu_hours)
    columns = [Column("Quantity", is_number=False), Column("Estimate"), Column("How it is reckoned", is_number=False)]
    rows = [
        texts("CPU", f"{core_hours} core-hours", "measured: CPU time of all stages"),
        texts("GPU", f"{gpu_hours} GPU-hours", "measured: GPU time of all stages"),
        texts(
            "Energy",
            f"{significant(found.kwh)} kWh",
            f"({core_hours} core-hours × {cfg.cpu_core_watts:g} W + {gpu_hours} GPU-hours × {cfg.gpu_watts:g} W) / 1000 × "
            f"{cfg.pue:g} (power usage effectiveness)",
        ),
        texts(
            "Emissions",
            f"{significant(found.kg_co2e)} kg CO₂e",
            f"{significant(found.kwh)} kWh × {cfg.kg_co2e_per_kwh:g} kg CO₂e per kWh",
        ),
        texts(
            "Cost",
            f"{significant(found.price)} {cfg.currency}",
            f"{core_hours} core-hours × {cfg.price_per_cpu_core_hour:g} {cfg.currency} + "
            f"{gpu_hours} GPU-hours × {cfg.price_per_gpu_hour:g} {cfg.currency}",
        ),
    ]
    return Table("Estimates of energy, emissions and cost", columns, rows)


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def gib(n_bytes: int) -> str:
    """Bytes in GiB."""
    return f"{n_bytes / 2**30:.2f} GiB"
