"""What a plan takes for the seconds of a training step is the step that training would take."""

import pytest

from sae.base import SAE
from sae.build import build
from sae.config import GatedConfig, JumpReLUConfig, L1Config, SAEConfig, TopKConfig
from training.config import TrainingConfig
from training.rates import STEPS, step_seconds


@pytest.mark.parametrize("kernels", ["torch", "dense"])
@pytest.mark.parametrize(
    "cfg",
    [
        TopKConfig(expansion_factor=80, k=4),
        L1Config(expansion_factor=80),
        JumpReLUConfig(expansion_factor=80, target_l0=4, bandwidth=0.01),
        GatedConfig(expansion_factor=80),
    ],
    ids=lambda cfg: cfg.architecture,
)
def test_steps_are_sparse_but_for_the_first_of_an_sae_with_a_penalty(
    cfg: SAEConfig, kernels: str, monkeypatch: pytest.MonkeyPatch
):
    kinds: list[str] = []
    final = type(build(cfg, 16))
    for name in ("losses", "sparse_losses"):
        original = getattr(final, name)

        def counted(self: SAE, *args: object, original: object = original, name: str = name) -> object:
            kinds.append(name)
            return original(self, *args)  # pyright: ignore[reportCallIssue]

        monkeypatch.setattr(final, name, counted)
    training = TrainingConfig.model_validate({"batch_tokens": 64, "kernels": kernels})
    assert step_seconds(cfg, 16, training) > 0
    first = "sparse_losses" if isinstance(cfg, TopKConfig) else "losses"
    expected = [first] + STEPS * ["sparse_losses"] if kernels == "torch" else (STEPS + 1) * ["losses"]
    assert kinds == expected
