"""From the options of the command line to one file per feature, and a summary beside physicians' scores."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from analysis import examples as example_files
from analysis.concept_recovery import ranked
from analysis.examples import FeatureExamples
from analysis.interpretation import interpret as interpretation
from analysis.interpretation.config import InterpretConfig
from analysis.interpretation.passages import evidence
from clinlens import __version__
from clinlens import config as configs
from clinlens.assigned import assigned
from clinlens.interpret.endpoint import Endpoint, endpoint
from clinlens.interpret.local import LocalModel, local_model
from clinlens.interpret.physicians import comparison, physicians
from clinlens.interpret.windows import Windows, drawn, special_tokens
from clinlens.pipeline import EMBEDDED, Run, progress
from clinlens.quality.command import chosen
from hooks.corpus import bundles
from hooks.store import Store
from labeling.database.judgements import FeatureKey
from sae import artefact, saelens_format
from sae.errors import UserError

FOLDER = "interpretation"
VERSION = 2


class Work(NamedTuple):
    """What is interpreted of one autoencoder."""

    folder: Path
    examples: FeatureExamples
    windows: Windows
    features: list[int]
    origin: dict[str, Any]

    def path(self, run: Path, feature: int) -> Path:
        """The file of one feature."""
        return run / FOLDER / self.folder.parent.name / self.folder.name / f"{feature}.json"

    def key(self, feature: int) -> FeatureKey:
        """Hook point, autoencoder and feature."""
        return self.folder.parent.name, self.folder.name, feature


def interpret_command(place: Path, given: dict[str, Any]) -> dict[str, Any]:
    """Runs the verb.

    Args:
        place: A run folder, or its config.
        given: The command line's options by name.

    Returns:
        The features' explanations and scores, means, and the comparison with physicians.

    Raises:
        UserError: The model may not or cannot be asked, or there is nothing to ask it about.
    """
    cfg = assigned(InterpretConfig, given["settings"])
    run = Run(configs.read(place))
    asked = model_of(run, given, cfg)
    store = Store.open(run.folder / "acts")
    docs = run.documents
    patients = np.asarray(ranked(bundles(docs)))
    special = special_tokens(store)
    words = ["" if i in special else word for i, word in enumerate(vocabulary(run.folder))]
    works = [
        work_of(run, store, folder, patients, asked, given["features"], cfg)
        for folder in chosen(run.folder, given["sae"])
    ]
    found, model = [], {}
    with progress("interpret", sum(len(work.features) for work in works), "feature") as done:
        for work in works:
            for feature in work.features:
                one = made(run.folder, work, feature, words, patients, asked, cfg, is_fresh=given["is_fresh"])
                found.append({"hook_point": work.folder.parent.name, "sae_id": work.folder.name} | one)
                if one["detection"]:
                    model[work.key(feature)] = one["detection"]["balanced_accuracy"]
                done(1)
    summary = {
        "caveat": interpretation.CAVEAT,
        "asked": {"model": given["model"], "place": asked.place},
        "means": {name: mean_of([one[name] for one in found], cfg) for name in ("detection", "fuzzing")},
        "physicians": comparison(physicians(run.folder), model, cfg.seed),
    }
    path = run.folder / FOLDER / "summary.json"
    write_private(path, summary)
    return summary | {"features": found, "files": [str(path)]}


def model_of(run: Run, given: dict[str, Any], cfg: InterpretConfig) -> Endpoint | LocalModel:
    """Who is asked.

    Raises:
        UserError: Nobody may be.
    """
    if given["endpoint"] is not None:
        is_shareable = run.cfg.corpus.name == EMBEDDED or run.cfg.corpus.shareable  # the clinic's patients do not exist
        return endpoint(
            given["endpoint"], given["model"], given["key_file"], cfg, is_remote_allowed=given["is_remote_allowed"],
            is_shareable=is_shareable,
        )  # fmt: skip
    folder = Path(given["model"]).expanduser()
    if not folder.is_dir():
        raise UserError(
            f"No --endpoint is given, and --model {given['model']!r} is no folder, expected one of both. Name an endpoint such "
            "as http://127.0.0.1:8000/v1, or the folder of a local model."
        )
    return local_model(folder, cfg)


def work_of(
    run: Run, store: Store, folder: Path, patients: np.ndarray, asked: Endpoint | LocalModel, features: tuple[int, ...],
    cfg: InterpretConfig,
) -> Work:  # fmt: skip
    """What one autoencoder's features are judged from.

    Raises:
        UserError: It has no examples, or no feature of a given number.
    """
    path = run.folder / "examples" / folder.parent.name / f"{folder.name}.h5"
    examples = FeatureExamples.read(path)
    wrong = [one for one in features if one >= len(examples.density)]
    if wrong:
        raise UserError(
            f"The SAE {folder.name} has the features 0 to {len(examples.density) - 1}, expected --feature among them, found "
            f"{wrong[0]}. Correct it, or choose another with --sae."
        )
    rng = np.random.default_rng((cfg.seed, 3))
    some = list(features) or sorted(rng.permutation(examples.live)[: cfg.n_features].tolist())
    length = examples.contexts["top"].token_id.shape[-1]
    origin = {
        "version": VERSION, "code_version": __version__, "hook_point": folder.parent.name, "sae_id": folder.name,
        "sae_hash": artefact.file_hash(folder / saelens_format.WEIGHTS_FILE), "store_id": store.id,
        "examples": example_files.settings_of(path), "place": asked.place,
        "model": asked.model if isinstance(asked, Endpoint) else asked.place,
        "settings": cfg.model_dump(mode="json", exclude={"n_features", "timeout_s"}),
    }  # fmt: skip
    return Work(folder, examples, drawn(store, folder, patients, length, cfg.n_windows, cfg.seed), some, origin)


def made(  # noqa: PLR0913 - a feature's file rests on all of these
    run: Path, work: Work, feature: int, words: list[str], patients: np.ndarray, asked: Endpoint | LocalModel,
    cfg: InterpretConfig, *, is_fresh: bool,
) -> dict[str, Any]:  # fmt: skip
    """One feature's interpretation; one that rests on the same is read and not asked for again."""
    path = work.path(run, feature)
    if not is_fresh and path.is_file():
        before = artefact.read_json(path)
        if before.pop("origin") == work.origin:
            return before
    given = evidence(work.examples, feature, words, patients, work.windows.silent(feature, words), cfg)
    found = interpretation.interpret(asked.chat, given, feature, cfg)
    write_private(path, {"origin": work.origin} | found)
    return found


def write_private(path: Path, value: dict[str, Any]) -> None:
    """Writes for the owner alone: an explanation may repeat words of a record."""
    artefact.write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", artefact.PRIVATE)


def vocabulary(run: Path) -> list[str]:
    """Text of every token id.

    Raises:
        UserError: Examples were not gathered yet.
    """
    path = run / "examples" / example_files.VOCABULARY
    if not path.is_file():
        raise UserError(f"{path} does not exist, expected feature examples. Run `clinlens examples` on the run first.")
    return artefact.read_json(path)


def mean_of(scores: list[dict[str, Any] | None], cfg: InterpretConfig) -> dict[str, Any] | None:
    """Mean balanced accuracy over features with a 95 % interval, by resampling features; none with fewer than two."""
    values = np.asarray([one["balanced_accuracy"] for one in scores if one])
    if len(values) < 2:
        return None
    means = np.random.default_rng((cfg.seed, 5)).choice(values, (1000, len(values))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    ends = {"value": values.mean(), "low": low, "high": high}
    return {"n_features": len(values)} | {name: round(float(end), 6) for name, end in ends.items()}


def lines(found: dict[str, Any]) -> list[str]:
    """The interpretations for people."""
    rows = []
    for one in found["features"]:
        scores = "  ".join(f"{name} {shown(one[name])}" for name in ("detection", "fuzzing"))
        rows.append(f"{one['hook_point']}/{one['feature']}: {one['explanation'] or 'none'}  ({scores})")
        rows += [f"  {remark}" for remark in one["remarks"]]
    for name, mean in found["means"].items():
        if mean:
            rows.append(
                f"{name}: {mean['value']:.3f} [{mean['low']:.3f}, {mean['high']:.3f}] over {mean['n_features']} features"
            )
    both = found["physicians"]
    if both:
        low, high = both["interval"]
        rows.append(
            f"blind detection of {both['n_features']} features: physicians {both['physicians']:.3f}, model {both['model']:.3f}, "
            f"difference {both['difference']:+.3f} [{low:+.3f}, {high:+.3f}]. {both['caveat']}"
        )
    return [*rows, found["caveat"], *(f"wrote {path}" for path in found["files"])]


def shown(score: dict[str, Any] | None) -> str:
    """A score with its interval."""
    return "none" if score is None else f"{score['balanced_accuracy']:.2f} [{score['low']:.2f}, {score['high']:.2f}]"
