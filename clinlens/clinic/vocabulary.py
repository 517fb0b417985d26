"""The tokenizer of the clinic's decoder: byte-level BPE, learned from the notes.

Any text can be written with it, because every byte is a token. Digits stand alone, so a number is read digit by
digit; a digit after a space carries the space, as words do. Offsets are those of the text, and joining the pieces
gives the text back.
"""

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from clinlens.clinic.diagnoses import DIAGNOSES

PAD, BOS, EOS = SPECIAL_TOKENS = ("<pad>", "<s>", "</s>")
PAD_ID, BOS_ID, EOS_ID = range(3)
"""The special tokens come first in the vocabulary, in this order."""
N_POSITIONS = 512
"""Longest text in tokens; the notes are much shorter."""


def learn_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Learns the tokenizer, `<s>` in front of every text included.

    Raises: ValueError: two diagnoses begin with the same token, so that the first token of the answer would not tell
        them apart.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" ?\d"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    bpe.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A",
        pair=f"{BOS} $A {BOS} $B",
        special_tokens=[(BOS, BOS_ID)],
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        padding_side="right",
        model_max_length=N_POSITIONS,
        clean_up_tokenization_spaces=False,
    )
    n_first = len(set(first_answer_tokens(tokenizer).values()))
    if n_first < len(DIAGNOSES):
        raise ValueError(
            f"only {n_first} different first tokens for {len(DIAGNOSES)} diagnoses with vocab_size={vocab_size}. "
            "Raise vocab_size or rename diagnoses."
        )
    return tokenizer


def first_answer_tokens(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """The token right after `Diagnosis:` for every diagnosis."""
    return {name: tokenizer.encode(f" {name}", add_special_tokens=False)[0] for name in DIAGNOSES}


__all__ = ["BOS_ID", "EOS", "EOS_ID", "N_POSITIONS", "PAD_ID", "first_answer_tokens", "learn_tokenizer"]
