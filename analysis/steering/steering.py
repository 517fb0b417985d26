"""Changes at their hook points, in *delta mode*: with h = Σ_j a_j · W_dec[j] + b_dec + e at a token, a change adds

    (a_j′ − a_j) · W_dec[j]

to h and leaves all else as it was, the autoencoder's error e included. So a change that changes no activation changes no bit
of the model's answer, and an effect is the feature's and not that of a worse reconstruction. Special tokens and rows of
outlying norm stay as they are: no autoencoder was trained on them. Features of a later hook point are read from what the
earlier changes made of it.

Source: delta mode against substitution, 86 times less perturbation noise in a clinical model (arXiv:2605.04072).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from analysis.steering.change import Change
from hooks import passage
from hooks.hook_points import HookPoint, expand
from hooks.model import LanguageModel
from sae.base import SAE
from sae.errors import UserError

ROWS_PER_STEP = 2048


class Site(NamedTuple):
    """An autoencoder where it reads."""

    hook_point: str
    sae_id: str
    sae: SAE
    weight_hash: str
    norm_limit: float | None
    """Rows of a larger norm took no part in its training."""


@dataclass(frozen=True)
class Steering:
    """A model with changes; without any it is the clean one."""

    lm: LanguageModel
    sites: tuple[Site, ...]
    changes: tuple[Change, ...]

    def __post_init__(self) -> None:
        refuse_no_head(self.lm)
        refuse_unknown(self.sites, self.changes)

    def with_changes(self, changes: Sequence[Change]) -> "Steering":
        """The same model with other changes."""
        return Steering(self.lm, self.sites, tuple(changes))

    @property
    def clean(self) -> "Steering":
        """The model as it is."""
        return self.with_changes(())

    def edits(self, is_free: Bool[Tensor, "batch position"]) -> dict[HookPoint, passage.Edit]:
        """What `hooks.passage.edited` wants.

        Args:
            is_free: Positions that may be changed, of what the next pass is given.
        """
        found: dict[HookPoint, passage.Edit] = {}
        for site in self.sites:
            chosen = [change for change in self.changes if change.hook_point == site.hook_point]
            if chosen:
                (point,) = expand((site.hook_point,), self.lm.n_layers, tuple(self.lm.family.places))
                found[point] = delta_edit(site, chosen, is_free)
        return found

    def logits(
        self, input_ids: Int[Tensor, "batch position"], attention_mask: Int[Tensor, "batch position"],
        is_free: Bool[Tensor, "batch position"],
    ) -> Float[Tensor, "batch position vocabulary"]:  # fmt: skip
        """Next-token logits for right-padded texts."""
        return passage.logits(self.lm, input_ids, attention_mask, self.edits(is_free))


def delta_edit(site: Site, changes: Sequence[Change], is_free: Bool[Tensor, "batch position"]) -> passage.Edit:
    """An edit that adds the change of some features' contributions."""
    features = [change.feature for change in changes]

    def delta(rows: Float[Tensor, "rows d_in"]) -> Float[Tensor, "rows d_in"]:
        acts = site.sae.encode(rows)[:, features]
        wanted = torch.stack([change(acts[:, i]) for i, change in enumerate(changes)], dim=1)
        return (wanted - acts) @ site.sae.W_dec[features]

    def edit(value: Tensor) -> Tensor:
        where = is_free.to(value.device)
        if site.norm_limit is not None:
            where = where & (value.float().norm(dim=-1) <= site.norm_limit)
        added = torch.zeros_like(value)
        parts = [delta(rows.float()) for rows in value[where].split(ROWS_PER_STEP)]
        added[where] = torch.cat(parts).to(value.dtype)
        return value + added

    return edit


def refuse_no_head(lm: LanguageModel) -> None:
    """Stops where there is no answer to steer.

    Raises:
        UserError: The model is no decoder.
    """
    if lm.kind != "decoder":
        raise UserError(
            f"The model {lm.name!r} is of kind {lm.kind}, without next tokens, expected a decoder. Steer one that answers."
        )


def refuse_unknown(sites: Sequence[Site], changes: Sequence[Change]) -> None:
    """Stops changes that no autoencoder here can make.

    Raises:
        UserError: There is no autoencoder at the hook point, no such feature, or a feature is named twice.
    """
    by_point = {site.hook_point: site for site in sites}
    for change in changes:
        site = by_point.get(change.hook_point)
        if site is None:
            raise UserError(
                f"A change is at {change.hook_point}, but there are SAEs at {', '.join(by_point) or 'no hook point'}. "
                "Name one of them."
            )
        if change.feature >= site.sae.d_sae:
            raise UserError(
                f"Feature {change.hook_point}/{change.feature} was asked for, but the SAE {site.sae_id} has features 0 to "
                f"{site.sae.d_sae - 1}. Choose one of them."
            )
    named = [(change.hook_point, change.feature) for change in changes]
    if len(set(named)) < len(named):
        twice = next(one for one in named if named.count(one) > 1)
        raise UserError(f"Feature {twice[0]}/{twice[1]} is changed twice, expected once. Leave one out.")
