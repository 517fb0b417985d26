"""The report's first sentences, made from the figures alone."""

from pathlib import PurePath

from clinlens.report.gather import RunResult, SAEResult
from clinlens.report.tables import best_places, fixed


def short_name(name: str) -> str:
    """The last part of a path; a hub id stays whole."""
    return PurePath(name).name if name.startswith(("/", ".", "~")) or "\\" in name else name


def n_tokens(run: RunResult, split: str) -> int:
    """Rows of the store in a split, special tokens included."""
    return sum(shard["n_tokens"] for shard in run.manifest["shards"] if shard["split"] == split)


def count(n: int, noun: str) -> str:
    """A number and its noun."""
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def sentences(run: RunResult) -> list[str]:
    """Three to five sentences: what was made, how faithful and sparse it is, what the model loses, what is dead, concepts."""
    return [what_was_made(run), *reconstruction(run), *splice(run), *dead(run), *concepts(run)]


def what_was_made(run: RunResult) -> str:
    """Model, text and number of autoencoders."""
    origin = run.manifest["origin"]
    tokens = n_tokens(run, "train") + n_tokens(run, "held_out")
    return (
        f"{count(len(run.saes), 'sparse autoencoder')} ({', '.join(run.architectures)}) for the activations of the model "
        f"{short_name(origin['model']['model'])} at {count(len(run.hook_points), 'hook point')}, "
        f"from {tokens:,} tokens of the corpus {short_name(origin['corpus']['name'])}."
    )


def spread(values: list[float], digits: int) -> str:
    """Smallest and largest of some values, or the one."""
    low, high = fixed(min(values), digits), fixed(max(values), digits)
    return low if low == high else f"{low} to {high}"


def reconstruction(run: RunResult) -> list[str]:
    """Explained variance and sparsity, or that they were not measured."""
    measured = [(sae, sae.reconstruction) for sae in run.saes if sae.reconstruction]
    if not measured:
        return ["None of them was evaluated on held-out documents yet, so there are no figures of fidelity."]
    best, figures = max(measured, key=lambda pair: pair[1]["explained_variance"])
    if len(run.saes) == 1:
        return [
            f"On held-out documents it explains {100 * figures['explained_variance']:.1f} % of the activations’ variance "
            f"with {figures['l0']:.1f} active features per token."
        ]
    variance = spread([100 * found["explained_variance"] for _, found in measured], 1)
    l0 = spread([found["l0"] for _, found in measured], 1)
    missing = len(run.saes) - len(measured)
    left_out = (
        f" {count(missing, 'SAE')} of the run {'was' if missing == 1 else 'were'} not evaluated." if missing else ""
    )
    return [
        f"On held-out documents they explain {variance} % of the activations’ variance with {l0} active features per token; "
        f"the most faithful is {run.label(best)} ({100 * figures['explained_variance']:.1f} % at L0 {figures['l0']:.1f}).{left_out}"
    ]


def splice(run: RunResult) -> list[str]:
    """What the spliced model loses; a sentence on why not, for encoders."""
    measured = [(sae, sae.splice) for sae in run.saes if sae.splice]
    if measured:
        scores = spread([found["ce_loss_score"] for _, found in measured], 3)
        best, figures = max(measured, key=lambda pair: pair[1]["ce_loss_score"])
        which = f"the best is {run.label(best)}, " if len(measured) > 1 else ""
        return [
            f"With a reconstruction in the place of the activations, the model keeps a CE loss score of {scores}; "
            f"{which}with a cross-entropy of {figures['ce_spliced']:.3f} nats "
            f"per token where the untouched model has {figures['ce_clean']:.3f}."
        ]
    if any(sae.evaluation for sae in run.saes):
        return ["There is no CE loss score and no KL: this model predicts no next token, so nothing was spliced."]
    return []


def dead(run: RunResult) -> list[str]:
    """How many features never fire."""
    evaluated = [sae for sae in run.saes if sae.density]
    if not evaluated:
        return []
    n_dead = sum(value == 0 for sae in evaluated for value in sae.density)
    total = sum(len(sae.density) for sae in evaluated)
    return [f"{n_dead:,} of {total:,} features ({100 * n_dead / total:.1f} %) never fired on the held-out tokens."]


def concepts(run: RunResult) -> list[str]:
    """Concept recovery, where there is any; else why not."""
    if not run.has_concepts:
        return [no_concepts(run)]
    best = max(run.saes, key=lambda sae: sae.n_recovered)
    places = best_places(run)
    together = sum(sae.found[name]["auroc"] >= sae.concept_threshold for name, sae in places.items())
    found = f"{best.n_recovered} of {len(best.found)}"
    return [
        f"{run.label(best)} recovers most concepts: {found} have a feature with AUROC ≥ {best.concept_threshold:g} "
        f"({count(n_features(best), 'different feature')}). Taking for each concept the SAE that did best on the "
        f"documents of the choice, {together} of {len(places)} are recovered."
    ]


def n_features(sae: SAEResult) -> int:
    """Different features behind the recovered concepts: one that fires on every drug can be the best for several."""
    return len({concept["feature"] for concept in sae.found.values() if concept["auroc"] >= sae.concept_threshold})


def no_concepts(run: RunResult) -> str:
    """Why there is no concept recovery."""
    if any(sae.concepts for sae in run.saes):
        return "Concept recovery could not be measured: no annotated concept has mentions enough in the held-out documents."
    return "Concept recovery was not measured: it needs a corpus with annotated spans, and this run has none."
