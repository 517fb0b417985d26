"""Attribution over the turns of a conversation.

Source: formula 11 of paper 003 (A.3), Σ_{t=1}^{k} α_t · A^t_ij. The paper leaves α open: here it decays with age, or is given.
Later turns have more tokens; what a turn did not have counts as 0 in it.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float


def decay_weights(n_turns: int, decay: float = 0.5) -> Float[np.ndarray, "k"]:
    """α_t = decay^(k − t), over their sum: the last turn weighs most; with 1 all weigh the same, with 0 only the last.

    Raises:
        ValueError: The decay is not between 0 and 1, or there is no turn.
    """
    if not 0 <= decay <= 1 or n_turns < 1:
        raise ValueError(f"decay={decay} over {n_turns} turns, expected 0 to 1 and at least one turn")
    found = float(decay) ** np.arange(n_turns - 1, -1, -1)
    return found / found.sum()


def over_turns(
    matrices: Sequence[Float[np.ndarray, "_ _"]], weights: Float[np.ndarray, "k"]
) -> Float[np.ndarray, "n t"]:
    """Formula 11 on matrices whose first rows and columns are the same tokens.

    Raises:
        ValueError: There is not one weight for each turn.
    """
    if len(matrices) != len(weights) or not matrices:
        raise ValueError(f"{len(matrices)} turns and {len(weights)} weights, expected as many of both, at least one")
    shape = tuple(max(one.shape[axis] for one in matrices) for axis in (0, 1))
    total = np.zeros(shape)
    for weight, one in zip(weights, matrices, strict=True):
        total[: one.shape[0], : one.shape[1]] += weight * one
    return total
