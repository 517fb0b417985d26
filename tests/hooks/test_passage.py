"""Values at hook points: bit-equal to plain forward hooks, within 5e-6 of TransformerLens, no more of the model run."""

import warnings
from pathlib import Path

import pytest
import torch

from hooks import passage
from hooks.architecture import family_of, place_of
from hooks.hook_points import EMBED, HookPoint
from hooks.model import LanguageModel
from hooks.model_types import ENCODERS
from tests.tiny import SETTINGS, tiny_model, tiny_tokenizer

DECODERS = [kind for kind in SETTINGS if kind.split("-")[0] not in ENCODERS]
IN_THE_BRIDGE = [kind for kind in DECODERS if kind != "biogpt"]


def opened(kind: str, folder: Path = Path()) -> LanguageModel:
    model = tiny_model(kind)
    family = family_of(model.config.model_type, model.config)
    role = "encoder" if model.config.model_type in ENCODERS else "decoder"
    return LanguageModel(kind, model, tiny_tokenizer(), role, family, folder)


def inputs(n: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(4, 60, (2, n), generator=torch.Generator().manual_seed(1))
    return ids, torch.ones_like(ids)


def all_points(lm: LanguageModel) -> list[HookPoint]:
    return [HookPoint(None, EMBED)] + [HookPoint(layer, kind) for layer in range(3) for kind in lm.family.places]


@pytest.mark.parametrize("kind", SETTINGS)
def test_values_are_bit_equal_to_plain_forward_hooks(kind: str):
    lm, (ids, mask) = opened(kind), inputs()
    plain: dict[HookPoint, torch.Tensor] = {}
    for point in all_points(lm):
        module, side = place_of(point, lm.family, lm.base)

        def keep(_module, args, kwargs, output, point=point, side=side):
            value = (args[0] if args else kwargs["hidden_states"]) if side == "input" else output
            plain[point] = (value[0] if isinstance(value, tuple) else value).detach().clone()

        module.register_forward_hook(keep, with_kwargs=True)
    with torch.no_grad():
        lm.base(input_ids=ids, attention_mask=mask)
    values = passage.record(lm, all_points(lm), ids, mask)
    for point, value in values.items():
        assert torch.equal(value.reshape(plain[point].shape), plain[point]), point


@pytest.mark.parametrize("kind", SETTINGS)
def test_resid_post_is_the_hidden_state_before_the_final_norm(kind: str):
    lm, (ids, mask) = opened(kind), inputs()
    with torch.no_grad():
        hidden = lm.base(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
    values = passage.record(lm, [HookPoint(layer, "hook_resid_post") for layer in range(3)], ids, mask)
    for layer in range(2):
        assert torch.equal(values[HookPoint(layer, "hook_resid_post")], hidden[layer + 1])
    is_last_normed = lm.family.final_norm is not None or kind == "modernbert"
    assert torch.equal(values[HookPoint(2, "hook_resid_post")], hidden[3]) is not is_last_normed


@pytest.mark.parametrize("kind", IN_THE_BRIDGE)
def test_values_equal_transformer_lens_on_raw_weights(kind: str, tmp_path: Path):
    from transformer_lens.model_bridge import TransformerBridge

    folder = tmp_path / "model"  # TransformerLens guesses the architecture from the path: no family name in it
    lm, (ids, mask) = opened(kind), inputs()
    lm.model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bridge = TransformerBridge.boot_transformers(str(folder), device="cpu")
    with torch.no_grad():
        _, cache = bridge.run_with_cache(ids)
    values = passage.record(lm, all_points(lm), ids, mask)
    compared = [point for point in values if str(point) in cache]
    assert len(compared) >= 3 * 6
    for point in compared:
        theirs = cache[str(point)]
        assert (values[point].reshape(theirs.shape) - theirs).abs().max() <= 5e-6, point


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert"])
def test_no_layer_after_the_last_hook_point_is_run(kind: str):
    lm, (ids, mask) = opened(kind), inputs()
    run: list[int] = []
    layers = lm.base.get_submodule(lm.family.layers)
    for number, layer in enumerate(layers.children()):
        layer.register_forward_pre_hook(lambda *_, number=number: run.append(number))
    passage.record(lm, [HookPoint(1, "hook_attn_out"), HookPoint(0, "hook_resid_post")], ids, mask)
    assert run == [0, 1]
    run.clear()
    passage.record(lm, [HookPoint(None, EMBED)], ids, mask)
    assert run == []


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert", "modernbert"])
def test_a_right_padded_batch_gives_what_each_text_gives_alone(kind: str):
    lm, (ids, mask) = opened(kind), inputs()
    mask[1, 5:] = 0
    point = HookPoint(2, "hook_resid_post")
    together = passage.record(lm, [point], ids, mask)[point][1, :5]
    alone = passage.record(lm, [point], ids[1:, :5], mask[1:, :5])[point][0]
    assert (together - alone).abs().max() <= 1e-5


def test_hook_z_has_an_axis_for_heads():
    lm, (ids, mask) = opened("llama"), inputs()
    point = HookPoint(0, "attn.hook_z")
    assert passage.record(lm, [point], ids, mask)[point].shape == (2, 9, 4, 8)


@pytest.mark.parametrize("kind", DECODERS)
def test_an_edit_that_changes_nothing_leaves_the_logits_bit_equal(kind: str):
    lm, (ids, mask) = opened(kind), inputs()
    plain = passage.logits(lm, ids, mask)
    for point in all_points(lm):
        assert torch.equal(passage.logits(lm, ids, mask, {point: lambda value: value}), plain), point


def test_zeroing_the_stream_changes_the_logits_and_leaves_no_hook_behind():
    lm, (ids, mask) = opened("gpt2"), inputs()
    plain = passage.logits(lm, ids, mask)
    edited = passage.logits(lm, ids, mask, {HookPoint(2, "hook_resid_post"): torch.zeros_like})
    assert (edited - plain).abs().max() > 0.1
    assert torch.equal(passage.logits(lm, ids, mask), plain)
