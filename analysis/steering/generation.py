"""What the changed model writes: token after token, each pass over the new token alone, keys and values kept."""

from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from analysis.attribution.case import Case
from analysis.steering.steering import Steering
from hooks.passage import edited
from sae.errors import UserError


class Generated(NamedTuple):
    """A continuation."""

    token_ids: tuple[int, ...]
    """Without the end of text."""
    text: str
    perplexity: float
    """Of these tokens by the clean model, after the case: how far they are from what it would say."""


@torch.inference_mode()
def generated(steering: Steering, case: Case, n_tokens: int, *, temperature: float = 0.0, seed: int = 0) -> Generated:
    """Continues a case, up to so many tokens or the end of text.

    Args:
        steering: The model and its changes, which hold for the case and for what is written.
        case: What to continue.
        n_tokens: Most tokens to write.
        temperature: 0 takes the likeliest token each time.
        seed: Of the draws.

    Raises:
        UserError: The case leaves no room.
    """
    lm = steering.lm
    if case.n_tokens + n_tokens > lm.max_context_tokens:
        raise UserError(
            f"The text has {case.n_tokens} tokens and {n_tokens} are to be written, but the model {lm.name!r} reads at most "
            f"{lm.max_context_tokens}. Shorten one of them."
        )
    generator = torch.Generator().manual_seed(seed)
    new, is_free, past = case.input_ids[None], ~case.is_special[None], None
    ids: list[int] = []
    while len(ids) < n_tokens:
        with edited(lm, steering.edits(is_free)):
            out = lm.model(input_ids=new.to(lm.device), past_key_values=past, use_cache=True)
        past = out.past_key_values
        chosen = drawn(out.logits[0, -1].float().cpu(), temperature, generator)
        if chosen == lm.tokenizer.eos_token_id:
            break
        ids.append(chosen)
        new, is_free = torch.tensor([[chosen]]), torch.ones(1, 1, dtype=torch.bool)
    text = lm.tokenizer.decode(ids) if ids else ""
    return Generated(tuple(ids), text, clean_perplexity(steering, case, ids))


def drawn(logits: Tensor, temperature: float, generator: torch.Generator) -> int:
    """One token of a distribution; the likeliest at temperature 0."""
    if temperature == 0:
        return int(logits.argmax())
    return int(torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator))


def clean_perplexity(steering: Steering, case: Case, ids: list[int]) -> float:
    """exp of the clean model's mean surprise at tokens after a case; 1 for none."""
    if not ids:
        return 1.0
    sequence: Int[Tensor, "1 n"] = torch.cat([case.input_ids, torch.tensor(ids)])[None]
    mask = torch.ones_like(sequence)
    logits = steering.clean.logits(sequence, mask, mask.bool())[0, case.n_tokens - 1 : -1].float().cpu()
    chosen = logits.log_softmax(-1).gather(-1, torch.tensor(ids)[:, None])
    return float(chosen.mean().neg().exp())
