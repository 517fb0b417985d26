"""Capture beside its peers on one small random decoder: rows per second, same values, one run.

    python benchmarks/capture.py [--quick] [--json]

`capture_vs_truncated`: our hooks with early exit against a model that ends after the hooked layer (the limit).
`capture_vs_bridge`: against TransformerLens' TransformerBridge with `stop_at_layer`. Above 1 means ours is faster.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from transformers import AutoModelForCausalLM, Qwen2Config

from hooks import passage
from hooks.architecture import family_of
from hooks.hook_points import HookPoint
from hooks.model import LanguageModel
from tests.tiny import tiny_tokenizer
from training.engine import prepare
from training.resources import machine

LAYER = 3


def model(width: int) -> torch.nn.Module:
    """A random decoder of the Qwen2 kind with 8 layers."""
    config = Qwen2Config(
        vocab_size=97, hidden_size=width, intermediate_size=4 * width, num_hidden_layers=8, num_attention_heads=8,
        num_key_value_heads=4, max_position_embeddings=256,
    )  # fmt: skip
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()


def seconds(ways: dict[str, Callable[[], torch.Tensor]], rounds: int) -> dict[str, float]:
    """Median seconds of each way, rounds interleaved; all ways must give the same values."""
    reference = None
    for way in ways.values():
        value = way()
        reference = value if reference is None else reference
        assert (value - reference).abs().max() <= 5e-6 * max(float(reference.abs().max()), 1.0)  # noqa: S101
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in times.items()}


def main() -> None:
    """Prints a table, or the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smaller model and fewer rounds, under a minute")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    prepare(threads=1)
    width, rounds = (128, 7) if arguments.quick else (512, 15)
    whole, cut = model(width), model(width)
    cut.model.layers = cut.model.layers[: LAYER + 1]
    cut.model.norm = torch.nn.Identity()
    ids = torch.randint(4, 97, (8, 128))
    mask, point = torch.ones_like(ids), HookPoint(LAYER, "hook_resid_post")
    lm = LanguageModel("random", whole, tiny_tokenizer(), "decoder", family_of("qwen2", whole.config), Path())
    from transformer_lens.model_bridge import TransformerBridge

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole.save_pretrained(folder)
        tiny_tokenizer().save_pretrained(folder)
        bridge = TransformerBridge.boot_transformers(folder, device="cpu")

    @torch.inference_mode()
    def truncated() -> torch.Tensor:
        return cut.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state

    @torch.inference_mode()
    def bridged() -> torch.Tensor:
        name = f"blocks.{LAYER}.hook_out"
        return bridge.run_with_cache(ids, names_filter=[name], stop_at_layer=LAYER + 1)[1][name]

    ways = {
        "clinlens": lambda: passage.record(lm, [point], ids, mask)[point],
        "truncated": truncated,
        "bridge": bridged,
    }
    found = seconds(ways, rounds)
    figures = {f"capture_vs_{name}": found[name] / found["clinlens"] for name in ("truncated", "bridge")}
    peers = {f"{name}_tokens_per_s": ids.numel() / value for name, value in found.items()}
    if arguments.json:
        print(json.dumps({"figures": figures, "peers": peers, "machine": machine()}))
        return
    print(f"width {width}, 8 layers, hook after layer {LAYER}, batch {tuple(ids.shape)}, 1 thread, median of {rounds}")
    for name, value in (figures | peers).items():
        print(f"{name:32}{value:12,.2f}")


if __name__ == "__main__":
    main()
