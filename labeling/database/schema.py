"""The tables. Facts never change; only what points to them does.

Ids are UUIDv7 texts, times are UTC texts (`labeling.identifiers`), bodies are canonical JSON texts whose hash stands
beside them: the same bytes in SQLite and in PostgreSQL, so that both can be verified and merged alike.

What must not happen is forbidden by constraints, not by code: a rater has an item at most once per round (`one per
rater`), a place of an item is given once (`one per slot`), a request counts once (`client_uuid`), a judgement's
revisions are numbered, an event has its place in the chain. `IMMUTABLE` tables refuse UPDATE and DELETE by triggers.
"""

from sqlalchemy import (
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    literal_column,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Id, Hash, Time, Word = String(36), String(64), String(27), String(80)


def own_id() -> Column[str]:
    """The primary key."""
    return Column("id", Id, primary_key=True)


def link(name: str, target: str, *, required: bool = True, primary: bool = False) -> Column[str]:
    """A reference to a row of another table."""
    kind = Hash if target.endswith("sha256") else Id
    return Column(name, kind, ForeignKey(target), nullable=not required, primary_key=primary)


def one_of(name: str, *values: str) -> CheckConstraint:
    """Keeps a column to some words."""
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{name} IN ({listed})", name=name)


def free_index(name: str, *columns: str, where: str = "") -> Index:
    """An index of the items that want a rater, so that the full ones cost a search nothing."""
    rule = text(f"is_free = 1{where}")
    return Index(name, *columns, sqlite_where=rule, postgresql_where=rule)


# Who

institution = Table(
    "institution",
    metadata,
    own_id(),
    Column("name", Word, nullable=False, unique=True),
    Column("created_at", Time, nullable=False),
)

user = Table(
    "user_account",
    metadata,
    own_id(),
    Column("login", Word, nullable=False, unique=True),
    Column("display_name", Word, nullable=False),
    link("institution_id", "institution.id"),
    Column("specialty", Word, nullable=False, server_default=""),
    Column("seniority", Word, nullable=False, server_default=""),
    Column("status", String(16), nullable=False, server_default="active"),
    Column("is_administrator", Integer, nullable=False, server_default="0"),
    Column("created_at", Time, nullable=False),
    one_of("status", "invited", "active", "disabled", "foreign"),
)
"""`foreign` users came with another institution's export: they have judgements here and can never sign in."""

credential = Table(
    "credential",
    metadata,
    link("user_id", "user_account.id", primary=True),
    Column("password", Text),
    Column("totp_secret", Text),
    Column("totp_confirmed", Integer, nullable=False, server_default="0"),
    Column("totp_last_step", Integer, nullable=False, server_default="0"),
    Column("recovery_hashes", Text, nullable=False, server_default="[]"),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("retry_after", Time),
    Column("changed_at", Time, nullable=False),
)

invitation = Table(
    "invitation",
    metadata,
    Column("token_sha256", Hash, primary_key=True),
    link("user_id", "user_account.id"),
    Column("expires_at", Time, nullable=False),
    Column("used_at", Time),
)

session = Table(
    "session",
    metadata,
    Column("token_sha256", Hash, primary_key=True),
    link("user_id", "user_account.id"),
    Column("csrf", String(64), nullable=False),
    Column("created_at", Time, nullable=False),
    Column("seen_at", Time, nullable=False),
    Column("expires_at", Time, nullable=False),
    Column("ended_at", Time),
    Column("address_sha256", Hash, nullable=False),
    Column("agent", Word, nullable=False, server_default=""),
    Index("ix_session_user", "user_id", "ended_at"),
)

project = Table(
    "project",
    metadata,
    own_id(),
    Column("name", Word, nullable=False),
    Column("seed", Integer, nullable=False),
    Column("corpus_classification", Word, nullable=False, server_default="synthetic"),
    Column("data_use_note", Text, nullable=False, server_default=""),
    Column("pseudonym_key", Hash, nullable=False),
    Column("created_at", Time, nullable=False),
)

role_grant = Table(
    "role_grant",
    metadata,
    own_id(),
    link("project_id", "project.id"),
    link("user_id", "user_account.id"),
    Column("role", String(16), nullable=False),
    Column("valid_from", Time, nullable=False),
    Column("valid_to", Time),
    link("granted_by", "user_account.id", required=False),
    one_of("role", "lead", "rater", "senior", "analyst"),
    Index("ix_role_grant_user", "user_id", "project_id"),
)

coi_rule = Table(
    "coi_rule",
    metadata,
    own_id(),
    link("project_id", "project.id"),
    link("user_id", "user_account.id"),
    Column("kind", String(16), nullable=False),
    Column("value", Word, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("created_at", Time, nullable=False),
    one_of("kind", "feature", "document", "sae", "item"),
    Index("ix_coi_rule_user", "user_id", "project_id"),
)
"""What a rater shall not judge: a feature or item by id, evidence from a document (patient, site) by number, an SAE."""

# What is asked, and about what

codebook_version = Table(
    "codebook_version",
    metadata,
    own_id(),
    link("project_id", "project.id"),
    Column("n", Integer, nullable=False),
    Column("sha256", Hash, nullable=False),
    Column("body", Text, nullable=False),
    Column("note", Text, nullable=False, server_default=""),
    link("published_by", "user_account.id", required=False),
    Column("published_at", Time, nullable=False),
    UniqueConstraint("project_id", "n"),
)

sae_ref = Table(
    "sae_ref",
    metadata,
    own_id(),
    link("project_id", "project.id"),
    Column("sha256", Hash, nullable=False),
    Column("body", Text, nullable=False),
    UniqueConstraint("project_id", "sha256"),
)

feature = Table(
    "feature",
    metadata,
    own_id(),
    link("sae_ref_id", "sae_ref.id"),
    Column("number", Integer, nullable=False),
    Column("family", Word, nullable=False, server_default=""),
    UniqueConstraint("sae_ref_id", "number"),
)
"""`number` is the feature's index in its SAE; features of one family are near-duplicates and are spaced out."""

evidence_snapshot = Table(
    "evidence_snapshot",
    metadata,
    Column("sha256", Hash, primary_key=True),
    link("feature_id", "feature.id"),
    Column("body", Text, nullable=False),
    Column("created_at", Time, nullable=False),
)

snapshot_document = Table(
    "snapshot_document",
    metadata,
    link("snapshot_sha256", "evidence_snapshot.sha256", primary=True),
    Column("document", Integer, primary_key=True, index=True),
)
"""Which documents a snapshot shows, so that a rater can be kept from one; derived from its body."""

# Rounds

round_ = Table(
    "round",
    metadata,
    own_id(),
    link("project_id", "project.id"),
    Column("n", Integer, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("title", Word, nullable=False),
    link("codebook_version_id", "codebook_version.id"),
    Column("policy", Text, nullable=False),
    Column("seed", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    link("gate_round_id", "round.id", required=False),
    Column("created_at", Time, nullable=False),
    Column("closed_at", Time),
    UniqueConstraint("project_id", "n"),
    one_of("kind", "calibration", "main", "blind_extra", "detection"),
    one_of("state", "draft", "open", "paused", "closed"),
)

"""`gate_round_id`: the calibration round that a rater must have passed before this one gives them anything."""

round_rater = Table(
    "round_rater",
    metadata,
    link("round_id", "round.id", primary=True),
    link("user_id", "user_account.id", primary=True),
    Column("gate", String(16), nullable=False, server_default="none"),
    Column("gate_detail", Text, nullable=False, server_default="{}"),
    Column("cursors", Text, nullable=False, server_default="{}"),
    one_of("gate", "none", "pending", "passed", "repeat"),
)
"""`cursors`: up to which place of each stratum the rater has been, so that a search begins there; and `n_served`, how
many items the queue gave them, so that nobody need count."""

item = Table(
    "item",
    metadata,
    own_id(),
    link("round_id", "round.id"),
    link("feature_id", "feature.id"),
    link("snapshot_sha256", "evidence_snapshot.sha256"),
    Column("stratum", String(16), nullable=False),
    Column("slots", Integer, nullable=False),
    Column("n_extra", Integer, nullable=False, server_default="0"),
    Column("place", Integer),
    Column("state", String(16), nullable=False, server_default="open"),
    Column("is_free", Integer, nullable=False, server_default="1"),
    Column("n_submitted", Integer, nullable=False, server_default="0"),
    Column("n_held", Integer, nullable=False, server_default="0"),
    Column("posterior", Float, nullable=False, server_default="0"),
    Column("entropy", Float, nullable=False, server_default="0"),
    Column("detail", Text, nullable=False, server_default="{}"),
    link("retest_of", "item.id", required=False),
    link("only_for", "user_account.id", required=False),
    Column("due_at", Time),
    UniqueConstraint("round_id", "place"),
    one_of("stratum", "irr_fixed", "gold", "calibration", "retest", "adaptive", "single", "escalated", "detection"),
    one_of(
        "state", "open", "rated", "escalated", "consensus", "ambiguous", "adjudicated", "locked", "quarantined", "stale"
    ),
    Index("ix_item_progress", "round_id", "stratum", "state", "n_submitted"),
    free_index("ix_item_free", "round_id", "stratum", "place"),
    free_index("ix_item_begun", "round_id", "stratum", "place", where=" AND n_submitted > 0"),
    Index("ix_item_only_for", "only_for", "round_id", "due_at"),
    Index("ix_item_feature", "feature_id", "round_id"),
    Index("ix_item_snapshot", "snapshot_sha256"),
)
"""`place`: its place in the round's random order, none of a retest. `is_free`: 1 while the item wants another rater and
has a slot for one. `n_held`: slots taken, `n_submitted` of them with a judgement. `n_extra`: how many of the slots were
added because the raters disagreed. `retest_of`, `only_for`, `due_at`: the same feature once more for the rater who had
it, after that time. `detail`: label and contexts of a detection task, the distribution over the primary field's
categories."""

IS_FREE = literal_column("item.is_free") == literal_column("1")
"""Written out, since SQLite takes a partial index only where it reads the same words."""

HELD_STATES = "state IN ('open', 'submitted')"
KNOWN_STRATA = "stratum IN ('calibration', 'gold')"
"""Of an assignment: the right answer may be known."""

assignment = Table(
    "assignment",
    metadata,
    own_id(),
    link("item_id", "item.id"),
    link("round_id", "round.id"),
    link("rater_id", "user_account.id"),
    Column("slot", Integer, nullable=False),
    Column("stratum", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("lease_until", Time),
    Column("version", Integer, nullable=False, server_default="1"),
    Column("reason", Text, nullable=False),
    Column("skip_reason", String(32)),
    Column("created_at", Time, nullable=False),
    Column("submitted_at", Time),
    UniqueConstraint("item_id", "rater_id", "round_id", name="uq_assignment_one_per_rater"),
    one_of("state", "open", "submitted", "skipped", "expired", "released", "surplus"),
    Index(
        "uq_assignment_one_per_slot",
        "item_id",
        "round_id",
        "slot",
        unique=True,
        sqlite_where=text(HELD_STATES),
        postgresql_where=text(HELD_STATES),
    ),
    Index("ix_assignment_rater", "rater_id", "round_id", "state", "id"),
    Index("ix_assignment_last", "rater_id", "round_id", "submitted_at"),
    Index("ix_assignment_newest", "rater_id", "round_id", "id"),
    Index("ix_assignment_known", "rater_id", sqlite_where=text(KNOWN_STRATA), postgresql_where=text(KNOWN_STRATA)),
    Index(
        "ix_assignment_held",
        "round_id",
        "rater_id",
        "lease_until",
        sqlite_where=text("lease_until IS NOT NULL"),
        postgresql_where=text("lease_until IS NOT NULL"),
    ),
)
"""`stratum` is the item's, or `escalated` where the slot was added because the others disagreed: such a judgement must
not enter an agreement figure. `lease_until` of a submitted one: until then the rater may put another revision in its
place. A slot of an expired, skipped or released assignment is free again; a `surplus` one came late to a full item."""

IS_KNOWN = text(f"assignment.{KNOWN_STRATA}")
"""Written out, as `IS_FREE` is."""
IS_HELD = text(f"assignment.{HELD_STATES}")
"""Likewise: it takes a slot."""

draft = Table(
    "draft",
    metadata,
    link("assignment_id", "assignment.id", primary=True),
    Column("body", Text, nullable=False),
    Column("saved_at", Time, nullable=False),
)

judgement = Table(
    "judgement",
    metadata,
    own_id(),
    link("assignment_id", "assignment.id"),
    Column("revision", Integer, nullable=False),
    link("codebook_version_id", "codebook_version.id"),
    link("snapshot_sha256", "evidence_snapshot.sha256"),
    Column("body", Text, nullable=False),
    Column("body_sha256", Hash, nullable=False),
    Column("active_ms", Integer, nullable=False, server_default="0"),
    Column("wall_ms", Integer, nullable=False, server_default="0"),
    Column("has_seen_explanation", Integer, nullable=False, server_default="0"),
    Column("is_late", Integer, nullable=False, server_default="0"),
    Column("submitted_at", Time, nullable=False),
    Column("client_uuid", Id, nullable=False, unique=True),
    UniqueConstraint("assignment_id", "revision"),
)

judgement_label = Table(
    "judgement_label",
    metadata,
    link("judgement_id", "judgement.id", primary=True),
    Column("key", String(40), primary_key=True),
    Column("value", String(64), primary_key=True),
)
"""Categories and concept codes of a judgement, for counting; derived from its body."""

gold = Table(
    "gold",
    metadata,
    link("item_id", "item.id", primary=True),
    Column("body", Text, nullable=False),
    Column("source", Text, nullable=False),
)

note = Table(
    "note",
    metadata,
    own_id(),
    link("item_id", "item.id"),
    link("author_id", "user_account.id"),
    Column("body", Text, nullable=False),
    Column("created_at", Time, nullable=False),
)
"""The thread of an item: hidden from other raters until the item is closed."""

adjudication = Table(
    "adjudication",
    metadata,
    own_id(),
    link("item_id", "item.id"),
    link("adjudicator_id", "user_account.id"),
    Column("revision", Integer, nullable=False),
    Column("decision", Text, nullable=False),
    Column("disposition", String(24), nullable=False),
    Column("error_kind", String(24), nullable=False, server_default="other"),
    Column("seen", Text, nullable=False),
    Column("rationale", Text, nullable=False),
    Column("created_at", Time, nullable=False),
    Column("client_uuid", Id, nullable=False, unique=True),
    UniqueConstraint("item_id", "revision"),
    one_of("disposition", "decided", "irreducibly_ambiguous", "cannot_judge"),
    one_of(
        "error_kind",
        "ambiguous_text",
        "guideline_gap",
        "rater_error",
        "edge_case",
        "subjective_disagreement",
        "other",
    ),
)

consensus = Table(
    "consensus",
    metadata,
    own_id(),
    link("item_id", "item.id"),
    Column("method", String(24), nullable=False),
    Column("params_sha256", Hash, nullable=False),
    Column("input_digest", Hash, nullable=False),
    Column("distribution", Text, nullable=False),
    Column("computed_at", Time, nullable=False),
    UniqueConstraint("item_id", "method", "params_sha256", "input_digest"),
)

report = Table(
    "report",
    metadata,
    own_id(),
    link("project_id", "project.id"),
    Column("scope", Text, nullable=False),
    Column("input_digest", Hash, nullable=False),
    Column("seed", Integer, nullable=False),
    Column("software_version", Word, nullable=False),
    Column("body", Text, nullable=False),
    Column("created_at", Time, nullable=False),
)

signature = Table(
    "signature",
    metadata,
    own_id(),
    link("project_id", "project.id"),
    link("user_id", "user_account.id"),
    Column("printed_name", Word, nullable=False),
    Column("meaning", String(16), nullable=False),
    Column("object", Word, nullable=False),
    Column("record_sha256", Hash, nullable=False),
    Column("auth_method", String(24), nullable=False),
    Column("signed_at", Time, nullable=False),
    Column("voided_at", Time),
    Column("void_reason", Text),
    one_of("meaning", "rated", "reviewed", "adjudicated", "approved"),
)
"""`object` is `judgement:<id>`, `adjudication:<id>`, `report:<id>` or `codebook:<id>`."""

audit_event = Table(
    "audit_event",
    metadata,
    Column("project_id", Id, primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("at", Time, nullable=False),
    Column("actor_id", Id),
    Column("session_sha256", Hash),
    Column("action", String(40), nullable=False),
    Column("object", Word, nullable=False),
    Column("before_sha256", Hash),
    Column("after_sha256", Hash),
    Column("detail", Text, nullable=False, server_default="{}"),
    Column("previous", Hash, nullable=False),
    Column("hash", Hash, nullable=False),
)

"""One chain per project, and one called `system` for accounts and institutions."""

imported = Table(
    "import_batch",
    metadata,
    own_id(),
    link("project_id", "project.id"),
    Column("manifest_sha256", Hash, nullable=False),
    Column("source", Text, nullable=False),
    Column("created_at", Time, nullable=False),
    UniqueConstraint("project_id", "manifest_sha256"),
)

IMMUTABLE = (
    "codebook_version",
    "sae_ref",
    "evidence_snapshot",
    "snapshot_document",
    "judgement",
    "judgement_label",
    "gold",
    "note",
    "adjudication",
    "consensus",
    "report",
    "audit_event",
    "import_batch",
)
"""Tables whose rows are never changed nor taken away."""
