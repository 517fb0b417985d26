"""The other projects' ways, built on the very weights of ours."""

import contextlib
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2Config, logging

from hooks.hook_points import HookPoint
from tests.tiny import VOCABULARY, tiny_tokenizer

CONTEXT_TOKENS = 256


def save_model(folder: Path, width: int, n_layers: int) -> Path:
    """A random decoder of the GPT-2 kind with a word-level tokenizer.

    Its vocabulary is small, which favours peers that run the language-model head.
    """
    logging.disable_progress_bar()
    config = GPT2Config(
        vocab_size=len(VOCABULARY), n_embd=width, n_layer=n_layers, n_head=8, n_positions=CONTEXT_TOKENS,
        bos_token_id=1, eos_token_id=2, pad_token_id=3,
    )  # fmt: skip
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def open_model(folder: Path, attention: str) -> Any:
    """The saved model, by plain transformers."""
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation=attention).eval().requires_grad_(False)


def truncated(folder: Path, layer: int, attention: str) -> torch.nn.Module:
    """The base model that ends after `layer`, without final norm and head: the least that has to be computed."""
    base = open_model(folder, attention).transformer
    base.h = base.h[: layer + 1]
    base.ln_f = torch.nn.Identity()
    return base


def hooked_transformer(folder: Path) -> Any:
    """TransformerLens' HookedTransformer on the same raw weights: nothing folded, nothing centred."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig
    from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights

    source = open_model(folder, "eager")
    shape = source.config
    config = HookedTransformerConfig(
        n_layers=shape.n_layer, d_model=shape.n_embd, d_head=shape.n_embd // shape.n_head, n_heads=shape.n_head,
        d_mlp=4 * shape.n_embd, n_ctx=shape.n_positions, d_vocab=shape.vocab_size, act_fn="gelu_new",
        normalization_type="LN", eps=shape.layer_norm_epsilon, device="cpu",
    )  # fmt: skip
    with quiet():
        model = HookedTransformer(config)
        model.load_state_dict(convert_gpt2_weights(source, config), strict=False)  # what is missing are its masks
    return model.eval().requires_grad_(False)


def bridge(folder: Path) -> Any:
    """TransformerLens' TransformerBridge around the saved model; it runs eager attention."""
    from transformer_lens.model_bridge import TransformerBridge

    with quiet():
        return TransformerBridge.boot_transformers(str(folder), device="cpu")


@torch.inference_mode()
def cached(model: Any, ids: Tensor, name: str, layer: int) -> Tensor:
    """One hook point by `run_with_cache`, stopping after its layer.

    No attention mask is given: padding stands on the right, where causal attention never sees it.
    """
    return model.run_with_cache(ids, names_filter=[name], stop_at_layer=layer + 1)[1][name]


class SAELensCache:
    """SAELens' CacheActivationsRunner on tokens that are there already, in windows of equal length.

    Args:
        folder: The saved model.
        tokens: [n_windows, context_tokens]; tokenising is spared it.
        output: Where its Arrow files go; cleared before every run.
        model: The model it runs: its own HookedProxyLM around the saved model if none is given.
        point: What to keep.
        width: Width of that.
        tokens_per_buffer: Tokens of one of its files.
        batch_tokens: Tokens per forward pass.
    """

    def __init__(  # noqa: PLR0913 - one peer, described once
        self, folder: Path, tokens: Tensor, *, output: Path, model: Any, point: HookPoint, width: int,
        tokens_per_buffer: int, batch_tokens: int,
    ) -> None:  # fmt: skip
        from datasets import Dataset, disable_progress_bars
        from sae_lens import CacheActivationsRunner, CacheActivationsRunnerConfig

        disable_progress_bars()
        self.output = output
        self.hook_name = str(point) if model is not None else f"transformer.h.{point.layer}"
        self.config = CacheActivationsRunnerConfig(
            dataset_path="tokens handed in", model_name=str(folder), model_class_name="AutoModelForCausalLM",
            model_batch_size=batch_tokens // tokens.shape[1], hook_name=self.hook_name, d_in=width,
            training_tokens=tokens.numel(), context_size=tokens.shape[1], prepend_bos=False, shuffle=False,
            new_cached_activations_path=str(output), dtype="float32", device="cpu",
            buffer_size_gb=(tokens_per_buffer + 0.5) * width * 4 / 1e9,  # it rounds down
        )  # fmt: skip
        if self.config.n_buffers * self.config.n_tokens_in_buffer != tokens.numel():
            raise SystemExit(f"SAELens would cache other than {tokens.numel()} tokens. Choose whole buffers.")
        self.tokens = Dataset.from_dict({"input_ids": tokens.tolist()})
        with quiet():
            self.runner = CacheActivationsRunner(self.config, override_dataset=self.tokens)
        self.model = model if model is not None else self.runner.model

    def prepare(self) -> None:
        """An empty folder and a fresh reader of the tokens: the runner works once."""
        from sae_lens.cache_activations_runner import _mk_activations_store  # as its constructor does

        shutil.rmtree(self.output, ignore_errors=True)
        with quiet():
            self.runner.model = self.model
            self.runner.activations_store = _mk_activations_store(self.model, self.config, self.tokens)

    def run(self) -> Any:
        """Caches all tokens; the dataset it wrote."""
        with quiet():
            return self.runner.run()

    def values(self, window: int) -> Tensor:
        """What it wrote for one window, [context_tokens, width]."""
        from datasets import load_from_disk

        return torch.tensor(load_from_disk(str(self.output))[window][self.hook_name])


@contextlib.contextmanager
def quiet() -> Any:
    """Peers warn about their own future, which is not what is looked at here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
