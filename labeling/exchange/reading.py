"""An export's folder as a bundle, checked as a whole before anything is done with it.

1. The manifest: every file is the one that was written.
2. Every line is a record of its kind.
3. Every hash is that of what it names; every reference leads to a record of the export.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from labeling.answers import answer_of, is_marks
from labeling.codebook import Codebook
from labeling.exchange import manifest as manifests
from labeling.exchange.bundle import FILES, PROJECT_FILE, Bundle
from labeling.exchange.manifest import Manifest
from labeling.exchange.records import CodebookRecord, ProjectRecord, RaterRecord
from labeling.exchange.tables import R, read_json_lines, read_line
from labeling.identifiers import sha256
from labeling.round_settings import RoundSettings
from sae.errors import UserError


class Export(NamedTuple):
    """An export that was read."""

    manifest: Manifest
    bundle: Bundle


def read(folder: Path) -> Export:
    """An export's content.

    Raises:
        UserError: It is unfinished, changed, malformed or refers to what it does not hold; nothing was done.
    """
    manifest = manifests.read(folder)
    missing = {PROJECT_FILE, *FILES} - {"snapshots.jsonl"} - set(manifest.files)
    if missing:
        raise UserError(
            f"{folder} lacks {min(missing)}, expected the files of a whole export. Nothing was imported; export again."
        )
    parts: dict[str, Any] = {part: read_part(folder, manifest, name, kind) for name, (part, kind) in FILES.items()}
    project = read_line(text_of(folder / PROJECT_FILE), ProjectRecord, PROJECT_FILE)
    codebooks = sorted(read_codebooks(folder, manifest), key=lambda codebook: codebook.n)
    bundle = Bundle(project=project, codebooks=tuple(codebooks), **parts)
    check(bundle)
    if bundle.digest != manifest.input_digest or project.id != manifest.project:
        raise UserError(
            f"{folder} holds other facts than its manifest says, expected the digest {manifest.input_digest[:12]}…. Nothing "
            "was imported; ask for the export again."
        )
    return Export(manifest, bundle)


def text_of(path: Path) -> str:
    """A file's text."""
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8 (byte {error.start}), expected text. Nothing was imported; save it as UTF-8."
        ) from None


def read_part(folder: Path, manifest: Manifest, name: str, kind: type[R]) -> tuple[R, ...]:
    """The records of one file; none where the export does not have it."""
    if name not in manifest.files:
        return ()
    return tuple(read_json_lines(text_of(folder / name), kind, name))


def read_codebooks(folder: Path, manifest: Manifest) -> Iterable[CodebookRecord]:
    """The versions of the codebook."""
    for name in manifest.files:
        if name.startswith("codebook-") and name.endswith(".json"):
            yield read_line(text_of(folder / name), CodebookRecord, name)


def check(bundle: Bundle) -> None:
    """Ends with an error what does not hang together."""
    codebooks = {record.id: codebook_of(record) for record in bundle.codebooks}
    for name, records in (("codebook", bundle.codebooks), ("saes.jsonl", bundle.saes), ("snapshots", bundle.snapshots)):
        for n, record in enumerate(records, 1):
            if sha256(record.body) != record.sha256:
                raise broken(f"{name}, record {n}", "a body with another hash than it states")
    check_bodies(bundle)
    check_rounds(bundle, codebooks)
    check_references(bundle)
    check_unique(bundle)
    check_agreement(bundle)
    check_judgements(bundle, codebooks)
    check_decisions(bundle, codebooks)


def check_bodies(bundle: Bundle) -> None:
    """Autoencoders have names, and evidence has passages, each of a document."""
    for n, sae in enumerate(bundle.saes, 1):
        if not all(isinstance(sae.body.get(name), str) for name in ("model", "hook_point", "sae_id")):
            raise broken(f"saes.jsonl, line {n}", "an autoencoder without model, hook point or id")
    for n, snapshot in enumerate(bundle.snapshots, 1):
        contexts = snapshot.body.get("contexts")
        if not isinstance(contexts, list) or not all(is_context(one) for one in contexts):
            raise broken(f"snapshots.jsonl, line {n}", "evidence whose passages have no tokens or no document")


def is_context(value: Any) -> bool:
    """Whether something is a passage of evidence: tokens of a document."""
    if not isinstance(value, dict):
        return False
    return isinstance(value.get("tokens"), list) and type(value.get("document")) is int


def codebook_of(record: CodebookRecord) -> Codebook:
    """The codebook of a record.

    Raises:
        UserError: It is none.
    """
    try:
        codebook = Codebook.model_validate(record.body)
    except ValidationError as error:
        raise broken(f"codebook-{record.n}.json", f"{error.error_count()} settings that no codebook has") from None
    if codebook.sha256 != record.sha256:
        raise broken(f"codebook-{record.n}.json", "a codebook with another hash than it states")
    return codebook


def check_judgements(bundle: Bundle, codebooks: Mapping[str, Codebook]) -> None:
    """The answers are those that were given, and of the codebook that was asked."""
    versions = {record.id: record for record in bundle.codebooks}
    contexts = {one.id: one.detail.get("contexts") for one in bundle.items}
    for n, judgement in enumerate(bundle.judgements, 1):
        where = f"judgements.jsonl, line {n}"
        if sha256(judgement.answers) != judgement.answers_sha256:
            raise broken(where, "answers with another hash than it states")
        if judgement.codebook_id not in versions:
            raise broken(where, "a codebook version that the export does not hold")
        record = versions[judgement.codebook_id]
        if (record.sha256, record.n) != (judgement.codebook_sha256, judgement.codebook):
            raise broken(where, "a codebook version under another number or hash")
        shown = contexts[judgement.item_id]
        if judgement.round_kind != "detection":
            check_answers(codebooks[record.id], judgement.answers, where)
        elif not isinstance(shown, list) or not is_marks(judgement.answers, len(shown)):
            raise broken(where, "marks that the item's passages cannot have")


def check_decisions(bundle: Bundle, codebooks: Mapping[str, Codebook]) -> None:
    """What was decided could be an answer, of the codebook that was asked."""
    asked = {one.id: codebooks[one.codebook] for one in bundle.rounds}
    of_item = {one.id: asked[one.round] for one in bundle.items}
    for n, one in enumerate(bundle.adjudications, 1):
        check_answers(of_item[one.item_id], one.answers, f"adjudications.jsonl, line {n}")


EVERYWHERE = [1 << 20] * 1000
"""Tokens of contexts whose text stayed where it came from: cited passages are looked at for their form alone."""


def check_answers(codebook: Codebook, answers: dict[str, Any], where: str) -> None:
    """Every answer is of a field of the codebook, and one that the field can have; lengths asked for are a matter of rating."""
    questions = {question.key: question for question in codebook.questions}
    for key, answer in answers.items():
        question = questions.get(key)
        if question is None:
            raise broken(where, "an answer to a field that its codebook does not have")
        lenient = question.model_copy(update={"min_spans": 0, "min_characters": 0})
        try:
            is_stored = answer_of(lenient, answer, codebook, EVERYWHERE) == answer
        except UserError:
            is_stored = False
        if not is_stored:
            raise broken(where, f"an answer to {key} that its field cannot have")


def check_rounds(bundle: Bundle, codebooks: Mapping[str, Codebook]) -> None:
    """Rounds were run by settings that there are, and what is known to be true of their items could be an answer."""
    asked: dict[str, Codebook] = {}
    for n, one in enumerate(bundle.rounds, 1):
        if one.codebook not in codebooks:
            raise broken(f"rounds.jsonl, line {n}", "a codebook version that the export does not hold")
        asked[one.id] = codebooks[one.codebook]
        try:
            RoundSettings.model_validate(one.policy)
        except ValidationError as error:
            raise broken(f"rounds.jsonl, line {n}", f"{error.error_count()} settings that no round has") from None
    for n, one in enumerate(bundle.items, 1):
        if one.gold is None or one.round not in asked:
            continue
        where = f"items.jsonl, line {n}"
        contexts = one.detail.get("contexts")
        if one.stratum != "detection":
            check_answers(asked[one.round], one.gold, where)
        elif not isinstance(contexts, list) or not is_marks(one.gold, len(contexts)):
            raise broken(where, "marks that its passages cannot have")


def check_references(bundle: Bundle) -> None:
    """Every id that is named is that of a record."""
    rounds = {one.id for one in bundle.rounds}
    items = {one.id for one in bundle.items}
    asked_once = {one.id for one in bundle.items if one.retest_of is None}
    saes = {one.sha256 for one in bundle.saes}
    codebooks = {one.id for one in bundle.codebooks}
    raters = {one.rater for one in bundle.raters}
    tests: list[tuple[str, Iterable[Any], Callable[[Any], bool]]] = [
        ("rounds.jsonl", bundle.rounds, lambda one: one.codebook in codebooks),
        ("rounds.jsonl", bundle.rounds, lambda one: one.gate is None or one.gate in rounds - {one.id}),
        ("items.jsonl", bundle.items, lambda one: one.round in rounds and one.sae_sha256 in saes),
        ("items.jsonl", bundle.items, lambda one: one.only_for is None or one.only_for in raters),
        ("items.jsonl", bundle.items, lambda one: one.retest_of is None or one.retest_of in asked_once),
        ("judgements.jsonl", bundle.judgements, lambda one: one.item_id in items and one.round_id in rounds),
        ("judgements.jsonl", bundle.judgements, lambda one: one.rater in raters),
        ("skips.jsonl", bundle.skips, lambda one: one.item_id in items and one.rater in raters),
        ("adjudications.jsonl", bundle.adjudications, lambda one: one.item_id in items and one.rater in raters),
        ("snapshots.jsonl", bundle.snapshots, lambda one: one.sae_sha256 in saes),
    ]
    for name, records, holds in tests:
        for n, record in enumerate(records, 1):
            if not holds(record):
                raise broken(f"{name}, line {n}", "a reference to a record that the export does not hold")


def check_unique(bundle: Bundle) -> None:
    """No id twice, no rater twice, no place of a round and no item in a rater's hands twice."""
    ids: list[tuple[str, list[str | None]]] = [
        ("the codebooks", [one.id for one in bundle.codebooks]),
        ("the codebooks", [str(one.n) for one in bundle.codebooks]),
        ("saes.jsonl", [one.sha256 for one in bundle.saes]),
        ("snapshots.jsonl", [one.sha256 for one in bundle.snapshots]),
        ("rounds.jsonl", [one.id for one in bundle.rounds]),
        ("items.jsonl", [one.id for one in bundle.items]),
        ("items.jsonl", [None if one.place is None else f"{one.round} {one.place}" for one in bundle.items]),
        ("judgements.jsonl", [one.judgement_id for one in bundle.judgements]),
        ("judgements.jsonl", [one.client_uuid for one in bundle.judgements]),
        ("judgements.jsonl", [f"{one.assignment_id} {one.revision}" for one in bundle.judgements]),
        ("skips.jsonl", [one.assignment_id for one in bundle.skips]),
        ("skips.jsonl", [f"{one.item_id} {one.rater}" for one in bundle.skips]),
        ("adjudications.jsonl", [one.id for one in bundle.adjudications]),
        ("adjudications.jsonl", [one.client_uuid for one in bundle.adjudications]),
        ("adjudications.jsonl", [f"{one.item_id} {one.revision}" for one in bundle.adjudications]),
        ("raters.jsonl", [one.rater for one in bundle.raters]),
    ]
    for name, found in ids:
        seen: set[str] = set()
        for n, one in enumerate(found, 1):
            if one is None:
                continue
            if one in seen:
                raise broken(f"{name}, line {n}", "an id or a place that an earlier line has")
            seen.add(one)


def check_agreement(bundle: Bundle) -> None:
    """A judgement says of its item and round what they say of themselves; an assignment is one rater's with one item."""
    items = {one.id: one for one in bundle.items}
    kinds = {one.id: one.kind for one in bundle.rounds}
    held: dict[str, tuple[str, str]] = {}
    for n, one in enumerate(bundle.judgements, 1):
        item = items[one.item_id]
        of_item = (item.round, item.sae_sha256, item.feature, item.snapshot_sha256, item.retest_of, kinds[item.round])
        said = (one.round_id, one.sae_sha256, one.feature, one.snapshot_sha256, one.retest_of, one.round_kind)
        if said != of_item:
            raise broken(f"judgements.jsonl, line {n}", "another round, feature or evidence than its item")
        if held.setdefault(one.assignment_id, (one.item_id, one.rater)) != (one.item_id, one.rater):
            raise broken(f"judgements.jsonl, line {n}", "an assignment that is another rater's or of another item")
    for n, one in enumerate(bundle.skips, 1):
        if held.setdefault(one.assignment_id, (one.item_id, one.rater)) != (one.item_id, one.rater):
            raise broken(f"skips.jsonl, line {n}", "an assignment that is another rater's or of another item")


def broken(where: str, what: str) -> UserError:
    """The error of an export that does not hang together."""
    return UserError(
        f"{where} holds {what}, expected an export as it was written. Nothing was imported; ask for it again."
    )


def named_raters(bundle: Bundle) -> dict[str, RaterRecord]:
    """Raters by pseudonym."""
    return {rater.rater: rater for rater in bundle.raters}
