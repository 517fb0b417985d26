"""The autoencoders that steering needs, with what was counted of their features on held-out text."""

from collections.abc import Iterable, Sequence

from analysis.steering.controls import FeatureTable, feature_table
from analysis.steering.steering import Site
from clinlens.attribution.saes import sae_folder
from clinlens.pipeline import Run
from hooks.model import LanguageModel
from hooks.store import Store
from sae import artefact, saelens_format
from sae.errors import UserError
from training.evaluation import norm_limit, rows


def split(feature: str) -> tuple[str, int]:
    """Hook point and number of a feature.

    Raises:
        UserError: It is not HOOK/INDEX.
    """
    hook_point, _, index = feature.rpartition("/")
    if not hook_point or not index.isdecimal():
        raise UserError(
            f"--feature is {feature!r}, expected HOOK/INDEX such as blocks.3.hook_resid_post/1234. Correct it."
        )
    return hook_point, int(index)


def sites(run: Run, lm: LanguageModel, wanted: Iterable[tuple[str, str | None]]) -> tuple[Site, ...]:
    """Autoencoders at hook points, each once.

    Args:
        run: The run.
        lm: Its model, which gets them on its device.
        wanted: Hook point and id of each; the recommended or only one without an id.
    """
    found = []
    for hook_point, sae_id in dict.fromkeys(wanted):
        folder = sae_folder(run.folder, hook_point, sae_id, run.cfg.choice)
        refuse_other_model(folder.name, artefact.read_json(folder / "origin.json")["store"]["model"], lm)
        weights = artefact.file_hash(folder / saelens_format.WEIGHTS_FILE)
        sae = saelens_format.load(folder).to(lm.device)
        found.append(Site(hook_point, folder.name, sae, weights, norm_limit(folder)))
    return tuple(found)


def tables(run: Run, some: Sequence[Site], most_rows: int) -> dict[str, FeatureTable]:
    """What the features of each site did on held-out rows, as its training saw them."""
    store, exclude = Store.open(run.folder / "acts"), run.cfg.training.exclude_special_tokens
    return {
        site.hook_point: feature_table(
            site.sae, rows(store, site.hook_point, "held_out", most_rows, exclude, site.norm_limit)
        )
        for site in some
    }


def refuse_other_model(sae_id: str, trained_on: dict[str, str], lm: LanguageModel) -> None:
    """Stops where an autoencoder was trained on another model's activations.

    Raises:
        UserError: It was.
    """
    found = lm.fingerprint["weight_hash"]
    if trained_on["weight_hash"] != found:
        raise UserError(
            f"The SAE {sae_id} was trained on {trained_on['model']!r} with weights {trained_on['weight_hash'][:8]}, but the "
            f"run's model {lm.name!r} has {found[:8]}, expected the same. Name an SAE of this model."
        )
