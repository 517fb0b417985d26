"""`clinlens finetune`: a trained SAE, tuned further on what the model answers."""

import logging
from pathlib import Path
from typing import Any

from clinlens import config as configs
from clinlens.attribution.saes import sae_folder
from clinlens.folder import alone_in
from clinlens.pipeline import Run, progress
from hooks.hook_points import parse
from sae import artefact
from training.engine import prepare
from training.finetuning import COMPARISON_FILE, Finetune

log = logging.getLogger("clinlens")


def finetune(place: Path, hook_point: str, sae_id: str | None, overrides: tuple[str, ...] = ()) -> dict[str, Any]:
    """Fine-tunes one SAE of a run, or finds that it is done.

    Args:
        place: A run folder, or its config.
        hook_point: Where the SAE reads.
        sae_id: Which one; the recommended or only one, if none.
        overrides: `section.key=value` of the run's config, for this command alone.

    Returns:
        The folder of the new SAE, and the comparison with the old one.

    Raises:
        UserError: There is no such SAE, or it cannot be fine-tuned.
    """
    run = Run(configs.read(place, overrides))
    parse(hook_point)
    source = sae_folder(run.folder, hook_point, sae_id, run.cfg.choice)
    cfg = run.cfg
    task = Finetune(
        run.folder, hook_point, source.name, run.model, cfg.finetuning, cfg.evaluation, cfg.seed, cfg.engine.threads
    )
    with alone_in(run.folder):
        if not task.is_complete:
            prepare(cfg.engine.threads)
            log.info("finetune: %s at %s on %s tokens", task.sae_id, hook_point, f"{cfg.finetuning.n_tokens:,}")
            with progress("finetune", cfg.finetuning.n_tokens, "tok") as done:
                task.run(done)
    return {"folder": str(task.folder), **artefact.read_json(task.folder / COMPARISON_FILE)}


def lines(found: dict[str, Any]) -> list[str]:
    """Old and new side by side, for people."""
    rows = [f"{'':20} {'before':>12} {'after':>12} {'change':>12}"]
    for name, before in found["before"].items():
        rows.append(f"{name:20} {before:12.5f} {found['after'][name]:12.5f} {found['change'][name]:+12.5f}")
    measured = ", ".join(f"{n:,} held-out tokens for {part}" for part, n in found["n_tokens"].items())
    return [*rows, measured, f"wrote {found['folder']}"]
