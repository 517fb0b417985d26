"""What not to believe of each method, in one sentence; a page can say it before anything is computed."""

ATTENTION = "Where the model looks, not what that does to the answer: it finds values and misses what negates them."
RULES = "Rests on rules, not on what the model would do without a token: check with occlusion or resampling."
CAVEATS = {
    "integrated_gradients": "Rests on the baseline, and on nodes fine enough: look at the uncorrected gap.",
    "expected_gradients": "Noisy with few draws: look at the standard error.",
    "gradient_norm": "Says where the answer is sensitive, not in which direction: it has no sign.",
    "gradient_input": "Known evidence is found no better than by chance with this method: for comparison only.",
    "gated_lrp": "A positive score may be sensitivity alone, which has no sign; the relevance among its terms has one. Both rest "
    "on rules: check with occlusion or resampling.",
    "attn_lrp": RULES,
    "gim": "Rests on rules that look past self-repair: check with occlusion or resampling.",
    "occlusion": "The replaced text is none that anybody would write: part of a change may come from that.",
    "resampling": "Depends on what is drawn: tokens of the same kind need not be as likely.",
    "shapley": "Adds up exactly whatever the number of orders; the standard error says how far single values are settled.",
    "surrogate": "A linear model: look at its held-out R², and do not trust it where units act together, as a negation and its "
    "finding do.",
    "hidden_state": "How strongly a token is represented, not why the model answers: it knows nothing of the target.",
    "attention_rollout": ATTENTION,
    "last_attention": ATTENTION,
    "heta": "Without a sign; published figures of it contradict its released code, so trust the measured ones.",
    "through_answer": RULES,
}
"""Method → caveat. That of `through_answer` is its default way's; a result has the one of the way it took."""
