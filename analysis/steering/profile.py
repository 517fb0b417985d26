"""A preference profile: changes that an institution keeps under a name, with what they were measured to do.

A profile is bound to the weights and the tokenizer of its model and to the weights of each autoencoder: feature 17 of another
SAE is another thing. It holds no text of a case, so it may be passed on.
"""

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from analysis.steering.change import Change
from analysis.steering.dose import Dose
from analysis.steering.side_effects import SideEffects
from analysis.steering.steering import Site
from hooks.model import LanguageModel
from sae import artefact
from sae.config import Settings
from sae.errors import UserError

FOLDER = "profiles"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class ModelStamp(Settings, frozen=True):
    """Which model."""

    model: str = Field(description="Its name.")
    weight_hash: str = Field(description="Hash of its weights and config.")
    tokenizer_hash: str = Field(description="Hash of its tokenizer.")


class KeptChange(Change, frozen=True):
    """A change with the autoencoder whose feature it is."""

    sae_id: str = Field(description="Name of the SAE.")
    sae_hash: str = Field(description="Hash of its weights.")

    @property
    def change(self) -> Change:
        """The change alone."""
        return Change(**{name: getattr(self, name) for name in Change.model_fields})


class Figure(Settings, frozen=True):
    """A mean over cases or windows, with its 95 % interval."""

    value: float | None = Field(description="The mean; none where there was nothing to measure.")
    low: float | None = Field(description="Lower end of the interval.")
    high: float | None = Field(description="Upper end.")
    n: int = Field(description="Cases or windows.")


class Effect(Settings, frozen=True):
    """What a profile was measured to do, and what it costs."""

    answer: str | None = Field(description="The answer whose probability was watched, where it is one for all cases.")
    contrast: str | None = Field(default=None, description="What it was compared with.")
    clean_probability: Figure = Field(description="Of the answer, by the clean model.")
    probability: Figure = Field(description="Of the answer, under the profile.")
    log_odds_change: Figure = Field(description="Of the answer.")
    kl_answers: Figure = Field(description="Of the next token after the cases, in nats.")
    beyond_controls: Figure | None = Field(description="Change less that of matched random features.")
    n_controls: int = Field(description="Sets of matched random features.")
    p_value: float | None = Field(description="Share of the controls that do at least as much, itself counted.")
    clean_perplexity: float = Field(description="Of held-out text, by the clean model.")
    perplexity: Figure = Field(description="Of held-out text, under the profile.")
    kl_held_out: Figure = Field(description="Per token of held-out text, in nats.")
    kl_unrelated: Figure = Field(description="Of the next token after unrelated prompts, in nats.")
    changed_unrelated: Figure = Field(description="Share of unrelated prompts whose likeliest next token changed.")
    warnings: tuple[str, ...] = Field(default=(), description="What was found wrong with it.")


class Profile(Settings, frozen=True):
    """Changes under a name."""

    name: str = Field(description="What it is called.")
    note: str = Field(default="", description="What it is for; no patient text.")
    model: ModelStamp = Field(description="The model it is for.")
    changes: tuple[KeptChange, ...] = Field(min_length=1, description="What is done to which features.")
    effect: Effect = Field(description="What that was measured to do.")
    store_id: str = Field(description="The activations and texts it was measured on.")
    seed: int = Field(description="Of the measurement.")
    clinlens: str = Field(description="Version that measured it.")
    created_at: str = Field(description="When.")


def kept(changes: tuple[Change, ...], sites: tuple[Site, ...]) -> tuple[KeptChange, ...]:
    """Changes with their autoencoders."""
    by_point = {site.hook_point: site for site in sites}
    return tuple(
        KeptChange(
            **change.model_dump(), sae_id=by_point[change.hook_point].sae_id,
            sae_hash=by_point[change.hook_point].weight_hash,
        )
        for change in changes
    )  # fmt: skip


def effect_of(dose: Dose, costs: SideEffects, clean: Any, answer: str | None, contrast: str | None) -> Effect:
    """What was measured of one dose, to be kept."""
    controls = dose.controls

    def figure(one: Any) -> Figure:
        return Figure(**one.record())

    return Effect(
        answer=answer, contrast=contrast, clean_probability=figure(clean), probability=figure(dose.probability),
        log_odds_change=figure(dose.change), kl_answers=figure(dose.kl),
        beyond_controls=None if controls is None else figure(controls.beyond),
        n_controls=0 if controls is None else len(controls.changes),
        p_value=None if controls is None else controls.p_value,
        clean_perplexity=costs.clean_perplexity, perplexity=figure(costs.perplexity),
        kl_held_out=figure(costs.kl_held_out), kl_unrelated=figure(costs.kl_unrelated),
        changed_unrelated=figure(costs.changed_unrelated),
    )  # fmt: skip


def path_of(folder: Path, name: str) -> Path:
    """Where a profile lies.

    Raises:
        UserError: The name could be no file's.
    """
    if not NAME.fullmatch(name):
        raise UserError(
            f"{name!r} is no name of a profile, expected up to 64 letters, digits, dots, dashes and underscores. Choose another."
        )
    return folder / f"{name}.yaml"


def refuse_taken(folder: Path, name: str) -> None:
    """Stops before a profile would replace another.

    Raises:
        UserError: There is one of that name.
    """
    path = path_of(folder, name)
    if path.exists():
        raise UserError(f"{path} exists already, expected a new name: a profile is never changed. Choose another.")


def write(profile: Profile, folder: Path) -> Path:
    """Keeps a profile under its name; never in the place of another.

    Raises:
        UserError: There is one of that name.
    """
    refuse_taken(folder, profile.name)
    path = path_of(folder, profile.name)
    artefact.write_text(path, yaml.safe_dump(profile.model_dump(mode="json"), sort_keys=False, allow_unicode=True))
    return path


def read(folder: Path, name: str) -> Profile:
    """A profile that was kept.

    Raises:
        UserError: There is none of that name, or the file is none.
    """
    path = path_of(folder, name)
    if not path.is_file():
        known = ", ".join(sorted(one.stem for one in folder.glob("*.yaml"))) or "no profile"
        raise UserError(f"{folder} holds {known}, expected {name}. Name one of them, or keep one with --save-profile.")
    try:
        return Profile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no YAML, expected a profile. Copy it again from where it was kept.") from error
    except ValidationError as error:
        detail = error.errors()[0]
        place = ".".join(map(str, detail["loc"])) or "the file"
        raise UserError(
            f"{path}: {place}: {detail['msg'].lower()}, expected a profile that --save-profile wrote. Correct it."
        ) from None


def refuse_foreign(profile: Profile, lm: LanguageModel, sites: tuple[Site, ...]) -> None:
    """Stops a profile that was made for something else.

    Raises:
        UserError: The model, its tokenizer, or an autoencoder is another one.
    """
    found = lm.fingerprint
    for key in ("weight_hash", "tokenizer_hash"):
        if found[key] != getattr(profile.model, key):
            raise UserError(
                f"The profile {profile.name!r} is for the model {profile.model.model!r} with {key} "
                f"{getattr(profile.model, key)[:8]}, but this run's {lm.name!r} has {found[key][:8]}, expected the same. "
                "Make a profile for this model."
            )
    hashes = {site.hook_point: site.weight_hash for site in sites}
    for change in profile.changes:
        if hashes.get(change.hook_point) != change.sae_hash:
            raise UserError(
                f"The profile {profile.name!r} changes feature {change.feature} of the SAE {change.sae_id} at "
                f"{change.hook_point} (hash {change.sae_hash[:8]}), but the run's has hash "
                f"{hashes.get(change.hook_point, 'none')[:8]}, expected the same weights. Make a profile for this SAE."
            )
