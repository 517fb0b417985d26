"""Runs SAEBench's `core` on one exported SAE; called with the interpreter of an environment that has sae-bench.

SAEBench 0.6 wants numpy < 2 and datasets < 4, so it cannot be in ours. Arguments: the SAE's folder, the model's folder, a
JSON list of windows of token ids, all of one length. Prints the figures as one JSON object on the last line.
"""

import json
import sys
from pathlib import Path

import torch
from datasets import Dataset
from sae_bench.evals.core.eval_config import CoreEvalConfig
from sae_bench.evals.core.main import run_evals
from sae_bench.sae_bench_utils.general_utils import check_decoder_norms, load_and_format_sae
from sae_lens import SAE, ActivationsStore
from transformer_lens import HookedTransformer, HookedTransformerConfig
from transformer_lens.loading_from_pretrained import convert_hf_model_config
from transformer_lens.pretrained.weight_conversions import convert_qwen2_weights
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast


def hooked(folder: str) -> HookedTransformer:
    """A model of the Qwen2 kind in TransformerLens, from a local folder, weights raw."""
    settings = convert_hf_model_config(folder) | {"dtype": torch.float32, "device": "cpu", "model_name": "tiny"}
    settings |= {"normalization_type": "RMS", "tokenizer_name": folder}
    cfg = HookedTransformerConfig.from_dict(settings)
    model = HookedTransformer(cfg, PreTrainedTokenizerFast.from_pretrained(folder))
    there = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.load_and_process_state_dict(
        convert_qwen2_weights(there, cfg),
        fold_ln=False, center_writing_weights=False, center_unembed=False, fold_value_biases=False,
    )  # fmt: skip
    return model


def main(folder: str, model_folder: str, windows: str) -> None:
    sae = SAE.load_from_disk(folder)
    _, sae, _ = load_and_format_sae("clinlens", sae, "cpu")
    tokens = json.loads(Path(windows).read_text())
    model = hooked(model_folder)
    windows_of_tokens = Dataset.from_dict({"input_ids": tokens})
    store = ActivationsStore.from_sae(model, sae, dataset=windows_of_tokens, streaming=False, total_tokens=1)
    config = CoreEvalConfig(
        model_name=model_folder,
        batch_size_prompts=len(tokens),
        n_eval_reconstruction_batches=1,
        n_eval_sparsity_variance_batches=1,
        exclude_special_tokens_from_reconstruction=True,
        compute_kl=True,
        compute_ce_loss=True,
        compute_l2_norms=True,
        compute_sparsity_metrics=True,
        compute_variance_metrics=True,
        compute_featurewise_density_statistics=True,
        compute_featurewise_weight_based_metrics=True,
    )
    ignored = {model.tokenizer.bos_token_id, model.tokenizer.eos_token_id, model.tokenizer.pad_token_id}
    figures, features = run_evals(sae, store, model, config, ignore_tokens=ignored)
    figures["has_unit_norm"] = check_decoder_norms(sae.W_dec)
    figures["n_features"] = {name: len(values) for name, values in features.items()}
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
