"""Tables of the report: what every architecture at every hook point reached, as text ready to be shown."""

from typing import NamedTuple

import numpy as np

from clinlens.report.gather import RunResult, SAEResult

NOTHING = "—"
"""Stands where there is no figure; the page says so."""


class Column(NamedTuple):
    """A column's head."""

    name: str
    meaning: str = ""
    """A few words below the name."""
    is_number: bool = True


class Cell(NamedTuple):
    """Text, which may lead to a feature."""

    text: str
    href: str = ""


class Table(NamedTuple):
    """A table; its first columns head their rows."""

    caption: str
    columns: list[Column]
    rows: list[list[Cell]]
    n_headers: int = 1


def texts(*values: str) -> list[Cell]:
    """Cells that lead nowhere."""
    return [Cell(value) for value in values]


def fixed(value: float | None, digits: int) -> str:
    """A number with so many decimals, or the sign for none."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def significant(value: float, digits: int = 3) -> str:
    """A number with so many significant digits, never in powers of ten where it can be read without."""
    if value == 0 or abs(value) >= 1e5:
        return f"{value:,.0f}"
    decimals = max(digits - 1 - int(np.floor(np.log10(abs(value)))), 0)
    return f"{value:,.{min(decimals, 10)}f}"


def percent(share: float | None) -> str:
    """A share as a percentage."""
    return NOTHING if share is None else f"{100 * share:.1f} %"


def recovered(sae: SAEResult) -> str:
    """Concepts recovered, of how many."""
    return f"{sae.n_recovered}/{len(sae.found)}" if sae.concepts else NOTHING


def named(run: RunResult, sae: SAEResult, *values: str) -> list[Cell]:
    """A row that begins with the hook point and the kind of autoencoder."""
    return texts(run.short_names[sae.hook_point], run.variants[sae.settings], *values)


PLACE = [Column("Hook point", is_number=False), Column("SAE", is_number=False)]


def main_table(run: RunResult) -> Table:
    """The figures of every autoencoder on held-out documents."""
    threshold = run.saes[0].concept_threshold
    columns = [
        *PLACE,
        Column("L0", "active features per token"),
        Column("Explained variance", "1 is perfect"),
        Column("Cosine", "input with reconstruction"),
        Column("Dead", "never fired on held-out tokens"),
        Column("CE loss score", "1: nothing lost, 0: as bad as zeros"),
        Column("KL", "nats per token"),
        Column("Concept recovery", f"concepts with AUROC ≥ {threshold:g}"),
    ]
    rows = []
    for sae in run.saes:
        reconstruction, splice = sae.reconstruction or {}, sae.splice or {}
        rows.append(
            named(
                run, sae,
                fixed(reconstruction.get("l0"), 1),
                fixed(reconstruction.get("explained_variance"), 3),
                fixed(reconstruction.get("cosine"), 3),
                percent(reconstruction.get("dead_fraction")),
                fixed(splice.get("ce_loss_score"), 3),
                fixed(splice.get("kl"), 3),
                recovered(sae),
            )
        )  # fmt: skip
    first = run.hook_points[0]
    caption = f"Figures on held-out documents, for each hook point and SAE ({run.short_names[first]} is {first})"
    return Table(caption, columns, rows, n_headers=2)


def other_figures_table(run: RunResult) -> Table:
    """What evaluation measures beside the main figures, and how far probes on a few features come."""
    sizes = sorted({int(k) for sae in run.saes for k in sae.probing.get("features", {})})
    columns = [
        *PLACE,
        Column("Legacy EV", "mean over rows; 1 is perfect"),
        Column("Bias", "1: no shrinkage"),
        Column("Norm ratio", "reconstruction ÷ input"),
        Column("Dense", "fire on more than 1 token in 10"),
        *(Column(f"Probe, {k}", "feature" if k == 1 else "features") for k in sizes),
        *([Column("Probe, model", "all activations")] if sizes else []),
    ]
    rows = []
    for sae in run.saes:
        reconstruction, probing = sae.reconstruction or {}, sae.probing
        probes = [probing.get("features", {}).get(str(k)) for k in sizes] + [probing.get("model")] * bool(sizes)
        rows.append(
            named(
                run, sae,
                fixed(reconstruction.get("legacy_explained_variance"), 3),
                fixed(reconstruction.get("relative_reconstruction_bias"), 3),
                fixed(reconstruction.get("norm_ratio"), 3),
                percent(reconstruction.get("dense_fraction")),
                *(NOTHING if one is None else interval(one) for one in probes),
            )
        )  # fmt: skip
    return Table("Further figures on held-out documents; probes in AUROC over concepts", columns, rows, n_headers=2)


def interval(found: dict[str, float]) -> str:
    """A mean and its 95 % interval over seeds."""
    return f"{found['auroc']:.3f} ({found['low']:.3f}–{found['high']:.3f})"


def training_table(run: RunResult) -> Table:
    """Where each training run ended."""
    columns = [
        *PLACE,
        Column("Tokens", "seen in training"),
        Column("Explained variance", "of the last batch"),
        Column("L0", "of the last batch"),
        Column("Dead", "silent for the dead window"),
    ]
    rows = [
        named(
            run, sae,
            f"{sae.metrics['n_tokens']:,}",
            fixed(sae.metrics["explained_variance"], 3),
            fixed(sae.metrics["l0"], 1),
            percent(sae.metrics["dead_fraction"]),
        )
        for sae in run.saes
    ]  # fmt: skip
    return Table("The last logged step of each training run", columns, rows, n_headers=2)


def density_table(run: RunResult) -> Table:
    """Spread of the densities, and how many features are dead."""
    columns = [
        *PLACE,
        Column("Features", "d_sae"),
        Column("Dead", "never fired on held-out tokens"),
        Column("5th percentile", "density of live features"),
        Column("Median", "density of live features"),
        Column("95th percentile", "density of live features"),
        Column("Dense", "fire on more than 1 token in 10"),
    ]
    rows = []
    for sae in run.saes:
        density = np.asarray(sae.density)
        live = density[density > 0]
        spread = [significant(float(q)) for q in np.quantile(live, (0.05, 0.5, 0.95))] if len(live) else [NOTHING] * 3
        counts = (
            [f"{len(density) - len(live):,}", *spread, f"{int((live > 0.1).sum()):,}"]
            if len(density)
            else [NOTHING] * 5
        )
        rows.append(named(run, sae, f"{sae.d_sae:,}", *counts))
    return Table("Feature densities: share of held-out tokens on which a feature fires", columns, rows, n_headers=2)


CONCEPT_FIGURES = [
    Column("Feature", "the best in the choice"),
    Column("AUROC", "on held-out documents not used for the choice"),
    Column("AUROC in choice", "flattered by the choosing"),
    Column("Mentions", "behind the AUROC"),
]


def best_places(run: RunResult) -> dict[str, SAEResult]:
    """For each concept the autoencoder with the best AUROC on the documents of the choice, never of the estimate."""
    found: dict[str, SAEResult] = {}
    for sae in run.saes:
        for name, concept in sae.found.items():
            best = found.get(name)
            if best is None or concept["auroc_in_choice"] > best.found[name]["auroc_in_choice"]:
                found[name] = sae
    return dict(sorted(found.items()))


def concept_row(sae: SAEResult, name: str, listed: set[str]) -> list[Cell]:
    """Feature and figures of one concept; the feature leads to the browser where it is listed there."""
    concept = sae.found[name]
    place = f"{sae.hook_point}/{sae.sae_id}/{concept['feature']}"
    link = Cell(str(concept["feature"]), f"#feature/{place}" if place in listed else "")
    figures = (fixed(concept["auroc"], 3), fixed(concept["auroc_in_choice"], 3), f"{concept['n_mentions']:,}")
    return [link, *texts(*figures)]


def best_concepts_table(run: RunResult, listed: set[str]) -> Table:
    """Each concept at the autoencoder that stands for it best."""
    columns = [Column("Concept", is_number=False), *PLACE, *CONCEPT_FIGURES]
    rows = [[Cell(name), *named(run, sae), *concept_row(sae, name, listed)] for name, sae in best_places(run).items()]
    return Table("For each concept, the SAE that did best on the documents of the choice", columns, rows)


def concept_tables(run: RunResult, listed: set[str]) -> list[Table]:
    """All concepts at each autoencoder."""
    columns = [Column("Concept", is_number=False), *CONCEPT_FIGURES]
    return [
        Table(
            f"{run.label(sae)}: {recovered(sae)} recovered",
            columns,
            [[Cell(name), *concept_row(sae, name, listed)] for name in sorted(sae.found)],
        )
        for sae in run.saes
        if sae.found
    ]
