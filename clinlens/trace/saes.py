"""Which autoencoders a trace goes through: one at each hook point, of this model and these activations."""

import fnmatch
from pathlib import Path

import numpy as np

from clinlens.attribution.saes import recommended
from hooks.hook_points import parse
from hooks.store import Store
from sae import artefact, saelens_format
from sae.errors import UserError

ORIGIN = "origin.json"
USUAL = "blocks.*.hook_resid_post"


def chosen(run: Path, store: Store, at: str | None, sae: str | None) -> dict[str, Path]:
    """Hook point → folder of its autoencoder, from the first layer to the last.

    Args:
        run: The run folder.
        store: Its activations.
        at: Pattern of hook points; the residual stream after each layer if unset, or all where that was not captured.
        sae: Pattern of ids; the recommended or only autoencoder if unset.

    Raises:
        UserError: There is none, or several and no word which, or one of another model.
    """
    trained = [point for point in store.hook_points if known(run, point)]
    usual = fnmatch.filter(trained, USUAL) or trained
    points = usual if at is None else fnmatch.filter(trained, at)
    if not points:
        raise UserError(
            f"{run} has trained SAEs at {', '.join(trained) or 'no hook point'}, expected some at {at or 'one at least'}. "
            "Train them, or correct --at."
        )
    ordered = sorted(points, key=lambda point: (layer_number(point), list(store.hook_points).index(point)))
    found = {point: one_of(run, point, sae) for point in ordered}
    for folder in found.values():
        refuse_stranger(folder, store)
    return found


def layer_number(point: str) -> int:
    """Layer of a hook point; −1 for the embedding."""
    number = parse(point).layer
    return -1 if number is None else number


def known(run: Path, point: str) -> list[str]:
    """Ids of the autoencoders at a hook point."""
    return sorted(path.parent.name for path in (run / "saes" / point).glob(f"*/{saelens_format.WEIGHTS_FILE}"))


def one_of(run: Path, point: str, sae: str | None) -> Path:
    """The autoencoder to take at a hook point.

    Raises:
        UserError: None fits, or several do.
    """
    there = known(run, point)
    fitting = there if sae is None else fnmatch.filter(there, sae)
    best = recommended(run, point)
    if best in fitting:
        return run / "saes" / point / best
    if len(fitting) != 1:
        raise UserError(
            f"At {point} {'there are' if fitting else 'none fits:'} the SAEs {', '.join(fitting or there)}, expected one. "
            f"Choose with --sae, such as --sae '{there[0].split('-')[0]}-*'."
        )
    return run / "saes" / point / fitting[0]


def refuse_stranger(folder: Path, store: Store) -> None:
    """Stops where an autoencoder is not of these activations.

    Raises:
        UserError: It was trained on other ones, or its width is another.
    """
    point = folder.parent.name
    width = saelens_format.load(folder).d_in
    if width != store.hook_points[point]:
        raise UserError(
            f"The SAE {folder.name} reads {width} numbers, but {point} of this run has {store.hook_points[point]}: it belongs to "
            "another model. Choose another with --sae."
        )
    origin = artefact.read_json(folder / ORIGIN) if (folder / ORIGIN).is_file() else {}
    trained_on = origin.get("store", {}).get("model", {}).get("weight_hash")
    here = store.origin["model"]["weight_hash"]
    if trained_on is not None and trained_on != here:
        raise UserError(
            f"The SAE {folder.name} at {point} was trained on the model with weights {trained_on[:8]}, but this run's are "
            f"{here[:8]}: its features mean nothing here. Choose another with --sae."
        )


def other_seeds(saes: dict[str, Path]) -> dict[str, tuple[str, np.ndarray]]:
    """Hook point → the autoencoder that differs in its seed alone, where there is one beside the chosen."""
    found = {}
    for point, folder in saes.items():
        own = settings_of(folder)
        for other in sorted(folder.parent.glob(f"*/{ORIGIN}")):
            theirs = settings_of(other.parent)
            if own and theirs and own[0] == theirs[0] and own[1] != theirs[1]:
                found[point] = other.parent.name, saelens_format.load(other.parent).W_dec.detach().numpy()
                break
    return found


def settings_of(folder: Path) -> tuple[str, int] | None:
    """Hash of everything but the seed, and the seed; none where its origin is unknown."""
    if not (folder / ORIGIN).is_file():
        return None
    origin = artefact.read_json(folder / ORIGIN)
    return artefact.content_hash(origin["sae"], origin["training"], origin["store_id"]), int(origin["seed"])
