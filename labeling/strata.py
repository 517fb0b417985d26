"""Which items may enter a headline: those drawn at random for a fixed number of raters, and no others.

Items that were sent to more raters because the first ones disagreed disagree more: in a simulation alpha was .43 on the
full panel and .26 on the escalated items. Gold, calibration and discussed items agree for other reasons.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from sae.errors import UserError

Stratum = Literal["irr_fixed", "gold", "calibration", "retest", "adaptive", "single"]
STRATA: tuple[Stratum, ...] = get_args(Stratum)
HEADLINE: Stratum = "irr_fixed"


def headline(strata: Sequence[str]) -> np.ndarray:
    """[n_items] bool: items of the fixed random stratum.

    Args:
        strata: Of each item.
    """
    strangers = sorted(set(strata) - set(STRATA))
    if strangers:
        raise UserError(
            f"{len(strangers)} strata have unknown names, expected some of {', '.join(STRATA)}. Correct the items' strata."
        )
    found = np.asarray([stratum == HEADLINE for stratum in strata], bool)
    if not found.any():
        raise UserError(
            f"None of {len(strata)} items is of the stratum {HEADLINE}, expected some: agreement is reported on a random "
            "sample rated by a fixed number of raters. Draw one, or pass no strata and do not call it a headline."
        )
    return found
