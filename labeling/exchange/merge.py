"""An export merged into a database: another institution's judgements beside one's own, in one transaction or not at all.

1. Ids are UUIDv7 and stay what they were, so nothing clashes and a second import of the same facts finds them there.
2. Facts are compared where they are there already: a judgement with the same id and another body ends the import.
3. People come by pseudonym, as accounts of status `foreign` that can never sign in; a pseudonym of this project's own is
   its own rater come home. Institutions are known by their names.
4. A codebook version or round whose number is taken gets the next one; a version keeps its id and hash, and is a version
   of its own.
5. Evidence that did not travel leaves its hash with a body that says so: what was shown can be
   proved, not read.
"""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, exc, insert, select, update

from labeling.database import audit
from labeling.database.schema import (
    codebook_version,
    feature,
    imported,
    institution,
    project,
    round_,
    sae_ref,
    snapshot_document,
    user,
)
from labeling.database.schema import evidence_snapshot as snapshot
from labeling.database.transaction import Actor
from labeling.evidence import WITHHELD
from labeling.exchange.bundle import Bundle
from labeling.exchange.reading import Export
from labeling.exchange.records import RaterRecord
from labeling.exchange.source import FOREIGN, name_outside
from labeling.identifiers import canonical, new_id, sha256
from sae.errors import UserError


@dataclass
class Target:
    """A project that an export goes into, with what the export's names are called here."""

    conn: Connection
    project_id: str
    actor: Actor
    now: str
    raters: dict[str, str] = field(default_factory=dict)
    """Pseudonym → account."""
    saes: dict[str, str] = field(default_factory=dict)
    """Hash → id."""
    features: dict[tuple[str, int], str] = field(default_factory=dict)
    """Hash of the SAE and index → id."""
    made: dict[str, int] = field(default_factory=dict)
    """Rows that were new, by table."""

    def count(self, table: str, n: int = 1) -> None:
        """Remembers that rows were new."""
        self.made[table] = self.made.get(table, 0) + n


def merge(conn: Connection, export: Export, actor: Actor, now: str, into: str | None = None) -> dict[str, Any]:
    """Merges an export.

    Args:
        conn: A write transaction; an error rolls all of it back.
        export: What `labeling.exchange.reading` read and checked.
        actor: Who imports.
        now: The time.
        into: Id of the project; the export's own if it is here, the only one if there is one, a new one if there is none.

    Returns:
        Whether it was there already, the project, and new rows by table.

    Raises:
        UserError: Something here has the same id and says something else, or the database refuses a row.
    """
    try:
        return merged(conn, export, actor, now, into)
    except (exc.IntegrityError, exc.DataError, OverflowError):
        raise UserError(
            "The export holds a record that contradicts another one, here or in it, expected facts that can stand side by side. "
            "Nothing was imported; ask for the export again."
        ) from None  # its own words hold the record's


def merged(conn: Connection, export: Export, actor: Actor, now: str, into: str | None) -> dict[str, Any]:
    """What `merge` does; the database may refuse a row."""
    from labeling.exchange import merge_facts

    bundle, name = export.bundle, export.manifest.sha256
    target = Target(conn, project_for(conn, bundle, into, actor, now), actor, now)
    batch = imported.c
    known = conn.execute(
        select(batch.id).where(batch.project_id == target.project_id, batch.manifest_sha256 == name)
    ).one_or_none()
    if known is not None:
        return {"project": target.project_id, "is_known": True, "new": {}}
    add_people(target, bundle)
    add_codebooks(target, bundle)
    add_features(target, bundle)
    add_rounds(target, bundle)
    merge_facts.add_items(target, bundle)
    merge_facts.add_judgements(target, bundle)
    merge_facts.add_skips(target, bundle)
    merge_facts.add_adjudications(target, bundle)
    row = {
        "id": new_id(),
        "project_id": target.project_id,
        "manifest_sha256": name,
        "source": canonical(export.manifest.model_dump(mode="json")),
        "created_at": now,
    }
    audit.record(conn, imported, row, target.project_id, actor, "export_imported", detail={"new": target.made})
    return {"project": target.project_id, "is_known": False, "new": target.made}


def project_for(conn: Connection, bundle: Bundle, into: str | None, actor: Actor, now: str) -> str:
    """Id of the project that the export goes into."""
    here = {row.id: row.name for row in conn.execute(select(project.c.id, project.c.name).order_by(project.c.id))}
    if into is not None:
        if into not in here:
            raise UserError(f"The database has no project {into}, expected one of {len(here)}. Correct --project.")
        return into
    if bundle.project.id in here:
        return bundle.project.id
    if len(here) > 1:
        raise UserError(
            f"The database has {len(here)} projects and none is the export's, expected to know which to merge into. Name its "
            "id with --project."
        )
    if here:
        return next(iter(here))
    row = {**bundle.project.model_dump(), "pseudonym_key": new_key(), "created_at": now}
    conn.execute(insert(project), row)
    audit.append(conn, bundle.project.id, actor, "project_created", f"project:{bundle.project.id}")
    return bundle.project.id


def new_key() -> str:
    """A fresh secret for pseudonyms."""
    import secrets

    return secrets.token_hex(32)


def add_people(target: Target, bundle: Bundle) -> None:
    """Accounts for the raters, and their institutions."""
    conn = target.conn
    key = conn.execute(select(project.c.pseudonym_key).where(project.c.id == target.project_id)).scalar_one()
    accounts = conn.execute(select(user.c.id, user.c.login, user.c.status))
    here = {name_outside(key, row.id, row.login, row.status): row.id for row in accounts}
    places = {row.name: row.id for row in conn.execute(select(institution.c.id, institution.c.name))}
    for rater in bundle.raters:
        if rater.rater not in here:
            if rater.institution not in places:
                places[rater.institution] = add_institution(target, rater.institution)
            here[rater.rater] = add_user(target, rater, places[rater.institution])
    target.raters = {rater.rater: here[rater.rater] for rater in bundle.raters}


def add_institution(target: Target, name: str) -> str:
    """An institution that was not known."""
    row = {"id": new_id(), "name": name, "created_at": target.now}
    target.conn.execute(insert(institution), row)
    audit.append(target.conn, audit.SYSTEM, target.actor, "institution_added", f"institution:{row['id']}", after=row)
    target.count("institution")
    return row["id"]


def add_user(target: Target, rater: RaterRecord, institution_id: str) -> str:
    """An account that can never sign in."""
    row = {
        "id": new_id(),
        "login": rater.rater,
        "display_name": rater.name or rater.rater,
        "institution_id": institution_id,
        "specialty": rater.specialty,
        "seniority": rater.seniority,
        "status": FOREIGN,
        "created_at": target.now,
    }
    target.conn.execute(insert(user), row)
    audit.append(target.conn, audit.SYSTEM, target.actor, "foreign_user_added", f"user_account:{row['id']}")
    target.count("user_account")
    return row["id"]


def add_codebooks(target: Target, bundle: Bundle) -> None:
    """Versions of the codebook, each of its own."""
    here = {row.id: row for row in target.conn.execute(select(codebook_version))}
    taken = {row.n for row in here.values() if row.project_id == target.project_id}
    for codebook in bundle.codebooks:
        if codebook.id in here:
            refuse_other("codebook version", codebook.id, here[codebook.id].sha256 == codebook.sha256)
            continue
        row = {
            **codebook.model_dump(exclude={"body"}),
            "n": free(codebook.n, taken),
            "project_id": target.project_id,
            "body": canonical(codebook.body),
            "published_by": None,
        }
        audit.record(target.conn, codebook_version, row, target.project_id, target.actor, "codebook_imported")
        target.count("codebook_version")


def free(n: int, taken: set[int]) -> int:
    """The number, or the next one where it is taken; it is taken now."""
    found = n if n not in taken else max(taken) + 1
    taken.add(found)
    return found


def refuse_other(kind: str, id: str, is_same: bool) -> None:  # noqa: A002 - it is an id
    """Ends with an error what has the id of a fact here and is another."""
    if not is_same:
        raise UserError(
            f"The {kind} {id} is here with another content, expected facts that never change. Nothing was imported; ask "
            "for the export again and run `clinlens labels verify`."
        )


def add_features(target: Target, bundle: Bundle) -> None:
    """Autoencoders, features and their evidence."""
    conn = target.conn
    query = select(sae_ref.c.sha256, sae_ref.c.id).where(sae_ref.c.project_id == target.project_id)
    target.saes = {row.sha256: row.id for row in conn.execute(query)}
    for sae in bundle.saes:
        if sae.sha256 not in target.saes:
            target.saes[sae.sha256] = new_id()
            row = {"id": target.saes[sae.sha256], "project_id": target.project_id, "sha256": sae.sha256}
            conn.execute(insert(sae_ref), {**row, "body": canonical(sae.body)})
            target.count("sae_ref")
    known = select(feature.c.id, feature.c.number, sae_ref.c.sha256).join(sae_ref)
    found = conn.execute(known.where(sae_ref.c.project_id == target.project_id))
    target.features = {(row.sha256, row.number): row.id for row in found}
    for item in bundle.items:
        add_feature(target, item.sae_sha256, item.feature, item.family)
    for one in bundle.snapshots:
        add_feature(target, one.sae_sha256, one.feature, "")
    add_snapshots(target, bundle)


def add_feature(target: Target, sae_sha256: str, number: int, family: str) -> None:
    """A feature, if it is not there."""
    if (sae_sha256, number) in target.features:
        return
    row = {"id": new_id(), "sae_ref_id": target.saes[sae_sha256], "number": number, "family": family}
    target.conn.execute(insert(feature), row)
    target.features[sae_sha256, number] = row["id"]
    target.count("feature")


def add_snapshots(target: Target, bundle: Bundle) -> None:
    """Evidence, or the hash of what stayed where it came from."""
    here = set(target.conn.execute(select(snapshot.c.sha256)).scalars())
    bodies = {one.sha256: one for one in bundle.snapshots}
    needed = {one.snapshot_sha256: (one.sae_sha256, one.feature) for one in bundle.items}
    needed |= {one.snapshot_sha256: (one.sae_sha256, one.feature) for one in bundle.judgements}
    needed |= {one.sha256: (one.sae_sha256, one.feature) for one in bundle.snapshots}
    for name, place in sorted(needed.items()):
        if name in here:
            continue
        body = bodies.get(name)
        row = {
            "sha256": name,
            "feature_id": target.features[place],
            "body": WITHHELD if body is None else canonical(body.body),
            "created_at": target.now if body is None else body.created_at,
        }
        target.conn.execute(insert(snapshot), row)
        if body is not None:
            add_documents(target, name, body.body)
        target.count("evidence_snapshot" if body is not None else "withheld_snapshot")


def add_documents(target: Target, name: str, body: dict[str, Any]) -> None:
    """Which documents a snapshot shows."""
    documents = sorted({context["document"] for context in body.get("contexts", [])})
    if documents:
        rows = [{"snapshot_sha256": name, "document": document} for document in documents]
        target.conn.execute(insert(snapshot_document), rows)


def add_rounds(target: Target, bundle: Bundle) -> None:
    """Rounds; nobody here is asked for anything by them, for they have no raters here."""
    here = {row.id: row for row in target.conn.execute(select(round_))}
    taken = {row.n for row in here.values() if row.project_id == target.project_id}
    for one in sorted(bundle.rounds, key=lambda one: (one.gate is not None, one.n)):
        if one.id in here:
            refuse_other("round", one.id, same_round(here[one.id], one.codebook, one.seed, one.kind))
            advance(target, here[one.id], one.state, one.closed_at)
            continue
        row = one.model_dump(exclude={"codebook", "policy", "gate"})
        row |= {
            "n": free(one.n, taken),
            "project_id": target.project_id,
            "codebook_version_id": one.codebook,
            "policy": canonical(one.policy),
            "gate_round_id": one.gate,
        }
        target.conn.execute(insert(round_), row)
        audit.append(
            target.conn, target.project_id, target.actor, "round_imported", f"round:{one.id}", after=sha256(row)
        )
        target.count("round")


def same_round(row: Row[Any], codebook: str, seed: int, kind: str) -> bool:
    """Whether a round here is the one of the export."""
    return (row.codebook_version_id, row.seed, row.kind) == (codebook, seed, kind)


def advance(target: Target, row: Row[Any], state: str, closed_at: str | None) -> None:
    """A round that was closed where it came from is closed here too, if nobody here rates in it."""
    from labeling.database.schema import round_rater

    raters = select(round_rater.c.user_id).where(round_rater.c.round_id == row.id).limit(1)
    if state == "closed" and row.state != "closed" and target.conn.execute(raters).first() is None:
        target.conn.execute(update(round_).where(round_.c.id == row.id).values(state=state, closed_at=closed_at))
