"""When an item is done, and the gates of a calibration round."""

import pytest

from labeling.gates import codebook_gate, rater_gate, share
from labeling.queue_policy import QueuePolicy
from labeling.stopping import verdict
from sae.errors import UserError

POLICY = QueuePolicy(max_judgements=5)


@pytest.mark.parametrize(
    ("n", "posterior", "n_extra", "state"),
    [
        (1, 0.99, 0, "open"),
        (2, 0.90, 0, "settled"),
        (2, 0.89, 0, "open"),
        (5, 0.89, 0, "escalate"),
        (5, 0.95, 0, "settled"),
        (6, 0.5, 1, "open"),
        (7, 0.5, 1, "adjudicate"),
        (7, 0.92, 1, "settled"),
        (9, 0.5, 0, "escalate"),
    ],
)
def test_an_item_goes_from_open_to_settled_or_through_an_extra_round_to_a_senior(
    n: int, posterior: float, n_extra: int, state: str
):
    found = verdict(n, posterior, n_extra, POLICY)
    assert found.state == state
    assert found.sentence.startswith(f"{n} judgements, best answer {posterior:.2f}")


def test_no_senior_is_asked_before_an_extra_blind_round_has_been_tried():
    states = {verdict(n, 0.6, 0, POLICY).state for n in range(30)}
    assert states == {"open", "escalate"}


def test_a_raters_gate_is_wilsons_lower_bound():
    # 18 of 20: (.9 + z²/40 − z √(.9·.1/20 + z²/1600)) / (1 + z²/20) with z = 1.959964
    found = rater_gate(18, 20, POLICY)
    assert found.low == pytest.approx(0.698966, abs=1e-6)
    assert not found.is_passed
    assert rater_gate(19, 20, POLICY).is_passed
    assert found.sentence.endswith("below 0.7: the calibration round is repeated.")
    nothing = rater_gate(0, 0, POLICY)
    assert (nothing.is_passed, nothing.low) == (False, None)


def test_a_codebooks_gate_is_alphas_lower_bound():
    assert codebook_gate(0.8, 0.7, POLICY).is_passed
    assert not codebook_gate(0.8, 0.6, POLICY).is_passed
    assert not codebook_gate(None, None, POLICY).is_passed


def test_a_share_of_nothing_is_refused():
    assert share(1, 2).value == 0.5
    with pytest.raises(UserError, match="0 of 0 answers"):
        share(0, 0)
