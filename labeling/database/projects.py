"""Projects and their codebooks. A published version never changes; a new one flags what was asked under the old."""

import hashlib
import hmac
import json
import secrets
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, insert, select, update

from labeling.codebook import Codebook
from labeling.database import audit, roles
from labeling.database.errors import NotFound
from labeling.database.prepared import Prepared
from labeling.database.schema import audit_event, codebook_version, imported, item, project, round_
from labeling.database.transaction import Actor, now
from labeling.identifiers import canonical, new_id
from sae.errors import UserError


class Project(NamedTuple):
    """Judgements that belong together."""

    id: str
    name: str
    seed: int
    corpus_classification: str
    """`synthetic`, `de-identified`, `identifiable` or the hospital's word."""
    data_use_note: str
    """Under which agreement the text may be read."""
    created_at: str


class CodebookVersion(NamedTuple):
    """A published codebook."""

    id: str
    n: int
    """1, 2, … within the project."""
    sha256: str
    codebook: Codebook
    note: str
    """Why it was published."""
    published_at: str


class Published(NamedTuple):
    """What publishing did."""

    version: CodebookVersion
    changes: list[str]
    """What differs from the version before, one sentence each."""
    n_stale: int
    """Items of open rounds that are flagged for re-rating."""


def create_project(
    conn: Connection,
    actor: Actor,
    name: str,
    *,
    seed: int = 0,
    corpus_classification: str = "synthetic",
    data_use_note: str = "",
) -> Project:
    """Makes a project; who made it leads it."""
    made = Project(new_id(), name.strip(), seed, corpus_classification, data_use_note, now(conn))
    if not made.name:
        raise UserError("The project has no name, expected one. Give it a name.")
    conn.execute(insert(project), {**made._asdict(), "pseudonym_key": secrets.token_hex(32)})
    audit.append(conn, made.id, actor, "project_created", f"project:{made.id}", after=made._asdict())
    if actor.user_id is not None:
        roles.grant_role(conn, actor, made.id, actor.user_id, "lead")
    return made


def projects(conn: Connection) -> list[Project]:
    """All projects, oldest first."""
    columns = [project.c[name] for name in Project._fields]
    return [Project(*row) for row in conn.execute(select(*columns).order_by(project.c.id))]


def project_of(conn: Connection, project_id: str) -> Project:
    """A project.

    Raises:
        NotFound: There is none of that id.
    """
    columns = [project.c[name] for name in Project._fields]
    row = conn.execute(select(*columns).where(project.c.id == project_id)).one_or_none()
    if row is None:
        raise NotFound("There is no such project, expected a known one. Choose one from the list.")
    return Project(*row)


def pseudonym_key(conn: Connection, project_id: str) -> str:
    """What the project's pseudonyms are made with; it never leaves the database but in a backup."""
    return conn.execute(select(project.c.pseudonym_key).where(project.c.id == project_id)).scalar_one()


def pseudonym(key: str, user_id: str) -> str:
    """A rater's name in exports: the same within a project, unrelated between projects."""
    return "R-" + hmac.new(bytes.fromhex(key), user_id.encode(), hashlib.sha256).hexdigest()[:10]


def publish_codebook(conn: Connection, actor: Actor, project_id: str, codebook: Codebook, note: str = "") -> Published:
    """Publishes a codebook as the project's next version.

    Items of open rounds become stale: they are given to nobody any more, their judgements stay, and the overview says
    that they want rating anew (`labeling.database.rerating`).

    Raises:
        UserError: It is the version that is published already.
    """
    roles.require(conn, actor, project_id, "lead")
    before = latest_codebook(conn, project_id)
    if before is not None and before.sha256 == codebook.sha256:
        raise UserError(f"The codebook is version {before.n}, which is published, expected a change. Change it first.")
    row = {
        "id": new_id(),
        "project_id": project_id,
        "n": 1 + max((version.n for version in codebooks(conn, project_id)), default=0),
        "sha256": codebook.sha256,
        "body": canonical(codebook.body),
        "note": note,
        "published_by": actor.user_id,
        "published_at": now(conn),
    }
    changes = differences(before.codebook, codebook) if before else []
    stale = flag_stale(conn, project_id) if before else 0
    detail = {"n": row["n"], "sha256": row["sha256"], "changes": changes, "n_stale": stale}
    audit.record(conn, codebook_version, row, project_id, actor, "codebook_published", detail)
    version = CodebookVersion(row["id"], row["n"], row["sha256"], codebook, note, row["published_at"])
    return Published(version, changes, stale)


def flag_stale(conn: Connection, project_id: str) -> int:
    """Flags the items of a project's open rounds; how many they are, planned retests not counted."""
    running = select(round_.c.id).where(
        round_.c.project_id == project_id, round_.c.state.in_(("open", "paused", "draft"))
    )
    is_asked = item.c.round_id.in_(running) & item.c.state.in_(("open", "rated", "escalated", "consensus", "ambiguous"))
    flag = update(item).values(state="stale", is_free=0)
    conn.execute(flag.where(is_asked, item.c.stratum == "retest"))
    return conn.execute(flag.where(is_asked)).rowcount


CODEBOOK = Prepared(select(codebook_version).where(codebook_version.c.id == bindparam("version")))
VERSIONS: dict[str, CodebookVersion] = {}
"""By id: a published version never changes, so that it is read once."""


def codebook_of(conn: Connection, codebook_version_id: str) -> CodebookVersion:
    """A published codebook.

    Raises:
        NotFound: There is none of that id.
    """
    if codebook_version_id not in VERSIONS:
        row = CODEBOOK.first(conn, {"version": codebook_version_id})
        if row is None:
            raise NotFound("There is no such codebook, expected a published version. Choose one from the list.")
        VERSIONS[codebook_version_id] = version_of(row)
    return VERSIONS[codebook_version_id]


def codebooks(conn: Connection, project_id: str) -> list[CodebookVersion]:
    """A project's codebooks, oldest first."""
    query = select(codebook_version).where(codebook_version.c.project_id == project_id)
    return [version_of(row) for row in conn.execute(query.order_by(codebook_version.c.n))]


def latest_codebook(conn: Connection, project_id: str) -> CodebookVersion | None:
    """A project's current codebook, if it has one: the newest that was published here.

    An import brings versions and never makes one current; where nothing was published here, the newest of all is.
    """
    versions, foreign = codebooks(conn, project_id), imported_codebooks(conn, project_id)
    own = [version for version in versions if version.id not in foreign]
    return max(own or versions, key=lambda version: version.n, default=None)


def imported_codebooks(conn: Connection, project_id: str) -> frozenset[str]:
    """Ids of the versions that came with another house's export."""
    if conn.execute(select(imported.c.id).where(imported.c.project_id == project_id).limit(1)).first() is None:
        return frozenset()  # and the chain, which may be long, need not be read
    query = select(audit_event.c.object).where(
        audit_event.c.project_id == project_id, audit_event.c.action == "codebook_imported"
    )
    return frozenset(name.partition(":")[2] for name in conn.execute(query).scalars())


def first_numbers(versions: Sequence[CodebookVersion]) -> dict[int, int]:
    """Every version's number → the first under which the same codebook stands: houses that ask alike are one."""
    first: dict[str, int] = {}
    return {one.n: first.setdefault(one.sha256, one.n) for one in sorted(versions, key=lambda one: one.n)}


def version_of(row: Any) -> CodebookVersion:
    """A row of `codebook_version`."""
    return CodebookVersion(row.id, row.n, row.sha256, parsed(row.body), row.note, row.published_at)


@lru_cache(maxsize=64)
def parsed(body: str) -> Codebook:
    """The codebook in a stored text."""
    return Codebook.model_validate(json.loads(body))


def differences(old: Codebook, new: Codebook) -> list[str]:
    """What a reader of both should know, one sentence each."""
    found = [
        f"{name} was changed." for name in ("title", "rubric", "primary") if getattr(old, name) != getattr(new, name)
    ]
    before = {question.key: question for question in old.questions}
    after = {question.key: question for question in new.questions}
    found += [f"The field {key} was taken away." for key in before if key not in after]
    found += [f"The field {key} was added." for key in after if key not in before]
    for key in before.keys() & after.keys():
        one, other = before[key], after[key]
        codes = [[category.code for category in question.categories] for question in (one, other)]
        if codes[0] != codes[1]:
            found.append(f"The categories of {key} were {', '.join(codes[0])} and are {', '.join(codes[1])}.")
        elif one != other:
            found.append(f"The wording or rules of {key} were changed.")
    if old.vocabulary != new.vocabulary:
        sizes = [len(book.vocabulary.terms) if book.vocabulary else 0 for book in (old, new)]
        found.append(f"The vocabulary had {sizes[0]} concepts and has {sizes[1]}.")
    return sorted(found)
