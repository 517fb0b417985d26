"""Which autoencoder of a run: the named one, the one that a choice recommends, or the only one."""

from pathlib import Path

from clinlens.choices import FILE as CHOICE
from clinlens.choices import choices
from clinlens.report.gather import read_sae
from hooks.hook_points import parse
from sae import artefact
from sae.errors import UserError
from sae.saelens_format import WEIGHTS_FILE
from training.choice import ChoiceConfig

DEPTH = 2 / 3
"""Of the layers, where features are looked for: as far up as `hidden_state` looks (layer 8 of 12)."""


def sae_folder(run: Path, hook_point: str, sae_id: str | None, cfg: ChoiceConfig) -> Path:
    """The autoencoder to take at a hook point: the named, the recommended, or the only one.

    It is looked up each time: a process of the desk outlives trainings and choices.

    Raises:
        UserError: There is none, or several, and no word or figures which.
    """
    place = run / "saes" / hook_point
    known = sorted(path.parent.name for path in place.glob(f"*/{WEIGHTS_FILE}"))
    if not known or (sae_id is not None and sae_id not in known):
        raise UserError(
            f"{place} holds {', '.join(known) or 'no trained SAE'}, expected {sae_id or 'one'}. "
            "Name another --feature or --sae, or train one there."
        )
    only = known[0] if len(known) == 1 else None
    wanted = sae_id or only or recommended(run, hook_point) or best(run, hook_point, known, cfg)
    if wanted is None:
        raise UserError(f"At {hook_point} there are the SAEs {', '.join(known)}, expected one. Choose it with --sae.")
    return place / wanted


def recommended(run: Path, hook_point: str) -> str | None:
    """The id of the SAE that a sweep's choice.json recommends."""
    path = run / CHOICE
    found = artefact.read_json(path)["choices"] if path.is_file() else []
    taken = [one["recommended"] for one in found if one["hook_point"] == hook_point and one["recommended"]]
    return taken[0]["sae_id"] if taken else None


def best(run: Path, hook_point: str, known: list[str], cfg: ChoiceConfig) -> str | None:
    """The id that the rule of a choice takes among those that the run has evaluated."""
    done = [one for one in known if (run / "saes" / hook_point / one / "evaluation.json").is_file()]
    found = choices([read_sae(run, hook_point, one) for one in done], cfg)
    taken = found[0].choice.recommended if found else None
    return taken.sae_id if taken else None


def middle(run: Path, n_layers: int) -> str:
    """Of the hook points with a trained SAE, the residual stream nearest to two thirds of the way up.

    Raises:
        UserError: There is none.
    """
    trained = {path.parent.parent.name for path in (run / "saes").glob(f"*/*/{WEIGHTS_FILE}")}
    if not trained:
        raise UserError(f"{run} holds no trained SAE, which sae_features needs. Train one, or choose other methods.")

    def distance(hook_point: str) -> tuple[bool, float, str]:
        point = parse(hook_point)
        layer = -1 if point.layer is None else point.layer
        return "resid" not in point.kind, abs(layer + 1 - DEPTH * n_layers), hook_point

    return min(trained, key=distance)
