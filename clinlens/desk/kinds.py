"""The kinds of each token: clinic concepts and surface at once, physicians' labels and linguistics when a process has looked."""

from collections import OrderedDict
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

from clinlens.desk.jobs.pool import Pool
from clinlens.desk.lexicon import mentions
from clinlens.desk.models import ServedModel
from clinlens.feature_labels import labels_of_run, shown
from labeling.database.judgements import FeatureKey, FeatureLabel
from sae import artefact
from sae.errors import UserError

MAX_KEPT = 64
WAIT_S = 0.3
"""What takes no longer is waited for."""


class Kind(NamedTuple):
    """One thing that is said of a token."""

    source: str
    """clinic, surface, physicians or linguistic."""
    category: str
    name: str
    detail: dict[str, Any] | None = None
    """Of a physician's label: hook point, SAE, feature, activation, the distribution of answers."""


class Looked(NamedTuple):
    """What a process said, as far as it has."""

    state: str
    """ready, pending, failed or none: nothing to look for."""
    found: dict[str, Any]
    problem: str | None = None


class Kinds:
    """Kinds of tokens, and the answers of processes, by what was asked.

    Args:
        pool: Whom to ask.
        folder: The run's, with its labels and autoencoders.
    """

    def __init__(self, pool: Pool, folder: Path) -> None:
        self.pool, self.folder = pool, folder
        self.asked: OrderedDict[str, Future[Any]] = OrderedDict()

    def labels(self) -> dict[FeatureKey, FeatureLabel]:
        """Physicians' labels that may be shown, of autoencoders that are there."""
        return {
            key: label
            for key, label in labels_of_run(self.folder).items()
            if (self.folder / "saes" / key[0] / key[1]).is_dir()
        }

    def look(self, model: ServedModel, text: str, labels: dict[FeatureKey, FeatureLabel]) -> Looked:
        """What a process says of a text; asked in the background, found the next time."""
        places = sorted({key[:2] for key in labels}) if model.is_run else []
        wanted = [[*place, sorted(key[2] for key in labels if key[:2] == place)] for place in places]
        order = {"kind": "annotate", "model": model.cfg.model_dump(mode="json"), "text": text, "wanted": wanted}
        key = artefact.content_hash(order)
        future = self.asked.pop(key, None) or self.pool.ask(order)
        self.asked[key] = future
        while len(self.asked) > MAX_KEPT:
            self.asked.popitem(last=False)
        try:
            return Looked("ready", future.result(WAIT_S))
        except TimeoutError:
            return Looked("pending", {})
        except UserError as error:
            self.asked.pop(key, None)
            return Looked("failed", {}, str(error))


def from_lexicon(text: str, offsets: list[list[int]]) -> list[list[Kind]]:
    """The kinds that words alone tell, per token."""
    spans = [(one.start, one.end, Kind(one.source, one.category, one.name)) for one in mentions(text)]
    return per_token(spans, offsets)


def from_physicians(
    found: list[dict[str, Any]], labels: dict[FeatureKey, FeatureLabel], n_tokens: int
) -> list[list[Kind]]:
    """The labels of features that fire, per token."""
    kinds: list[list[Kind]] = [[] for _ in range(n_tokens)]
    for one in found:
        label = labels.get((one["hook_point"], one["sae_id"], one["feature"]))
        if label is not None:
            told = shown(label)
            kinds[one["token"]].append(Kind("physicians", told["leading"], told["leading"], {**one, "label": told}))
    return kinds


def from_linguistics(spans: list[dict[str, Any]], offsets: list[list[int]]) -> list[list[Kind]]:
    """What a pipeline says, per token."""
    return per_token([(s["start"], s["end"], Kind("linguistic", s["category"], s["name"])) for s in spans], offsets)


def per_token(spans: list[tuple[int, int, Kind]], offsets: list[list[int]]) -> list[list[Kind]]:
    """The kinds of the passages that each token overlaps."""
    found: list[list[Kind]] = [[] for _ in offsets]
    for a, b, kind in spans:
        for token, (start, end) in enumerate(offsets):
            if 0 <= start < b and a < end and kind not in found[token]:
                found[token].append(kind)
    return found
