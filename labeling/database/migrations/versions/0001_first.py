"""The tables as they first were, and the triggers that keep facts as they are."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

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
SQLITE = """CREATE TRIGGER {table}_no_{verb} BEFORE {verb} ON {table}
BEGIN SELECT RAISE(ABORT, 'rows of {table} never change'); END"""
POSTGRESQL = (
    """CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'rows of % never change', TG_TABLE_NAME; END $$""",
    """CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table}
FOR EACH ROW EXECUTE FUNCTION refuse_change()""",
    """CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table}
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()""",
)


def upgrade() -> None:
    """Makes the tables, then the triggers."""
    make_tables()
    if op.get_bind().dialect.name == "postgresql":
        op.execute(POSTGRESQL[0])
        for table in IMMUTABLE:
            op.execute(POSTGRESQL[1].format(table=table))
            op.execute(POSTGRESQL[2].format(table=table))
    else:
        for table in IMMUTABLE:
            for verb in ("UPDATE", "DELETE"):
                op.execute(SQLITE.format(table=table, verb=verb))


def make_tables() -> None:
    """As Alembic wrote them from `labeling/database/schema.py` of that time."""
    op.create_table(
        "audit_event",
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("at", sa.String(length=27), nullable=False),
        sa.Column("actor_id", sa.String(length=36), nullable=True),
        sa.Column("session_sha256", sa.String(length=64), nullable=True),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("object", sa.String(length=80), nullable=False),
        sa.Column("before_sha256", sa.String(length=64), nullable=True),
        sa.Column("after_sha256", sa.String(length=64), nullable=True),
        sa.Column("detail", sa.Text(), server_default="{}", nullable=False),
        sa.Column("previous", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "seq", name=op.f("pk_audit_event")),
    )
    op.create_table(
        "institution",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_institution")),
        sa.UniqueConstraint("name", name=op.f("uq_institution_name")),
    )
    op.create_table(
        "project",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("corpus_classification", sa.String(length=80), server_default="synthetic", nullable=False),
        sa.Column("data_use_note", sa.Text(), server_default="", nullable=False),
        sa.Column("pseudonym_key", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_project")),
    )
    op.create_table(
        "import_batch",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.Column("manifest_sha256", sa.String(length=64), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_import_batch_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_import_batch")),
        sa.UniqueConstraint("project_id", "manifest_sha256", name=op.f("uq_import_batch_project_id_manifest_sha256")),
    )
    op.create_table(
        "report",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("input_digest", sa.String(length=64), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("software_version", sa.String(length=80), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_report_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_report")),
    )
    op.create_table(
        "sae_ref",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_sae_ref_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sae_ref")),
        sa.UniqueConstraint("project_id", "sha256", name=op.f("uq_sae_ref_project_id_sha256")),
    )
    op.create_table(
        "user_account",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("login", sa.String(length=80), nullable=False),
        sa.Column("display_name", sa.String(length=80), nullable=False),
        sa.Column("institution_id", sa.String(length=36), nullable=False),
        sa.Column("specialty", sa.String(length=80), server_default="", nullable=False),
        sa.Column("seniority", sa.String(length=80), server_default="", nullable=False),
        sa.Column("status", sa.String(length=16), server_default="active", nullable=False),
        sa.Column("is_administrator", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.CheckConstraint(
            "status IN ('invited', 'active', 'disabled', 'foreign')", name=op.f("ck_user_account_status")
        ),
        sa.ForeignKeyConstraint(["institution_id"], ["institution.id"], name=op.f("fk_user_account_institution_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user_account")),
        sa.UniqueConstraint("login", name=op.f("uq_user_account_login")),
    )
    op.create_table(
        "codebook_version",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("published_by", sa.String(length=36), nullable=True),
        sa.Column("published_at", sa.String(length=27), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_codebook_version_project_id")),
        sa.ForeignKeyConstraint(["published_by"], ["user_account.id"], name=op.f("fk_codebook_version_published_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_codebook_version")),
        sa.UniqueConstraint("project_id", "n", name=op.f("uq_codebook_version_project_id_n")),
    )
    op.create_table(
        "coi_rule",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.Column("user_id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("value", sa.String(length=80), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.CheckConstraint("kind IN ('feature', 'document', 'sae', 'item')", name=op.f("ck_coi_rule_kind")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_coi_rule_project_id")),
        sa.ForeignKeyConstraint(["user_id"], ["user_account.id"], name=op.f("fk_coi_rule_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_coi_rule")),
    )
    op.create_table(
        "credential",
        sa.Column("user_id", sa.String(length=36), nullable=False),
        sa.Column("password", sa.Text(), nullable=True),
        sa.Column("totp_secret", sa.Text(), nullable=True),
        sa.Column("totp_confirmed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("totp_last_step", sa.Integer(), server_default="0", nullable=False),
        sa.Column("recovery_hashes", sa.Text(), server_default="[]", nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("retry_after", sa.String(length=27), nullable=True),
        sa.Column("changed_at", sa.String(length=27), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user_account.id"], name=op.f("fk_credential_user_id")),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_credential")),
    )
    op.create_table(
        "feature",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("sae_ref_id", sa.String(length=36), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("family", sa.String(length=80), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["sae_ref_id"], ["sae_ref.id"], name=op.f("fk_feature_sae_ref_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feature")),
        sa.UniqueConstraint("sae_ref_id", "number", name=op.f("uq_feature_sae_ref_id_number")),
    )
    op.create_table(
        "invitation",
        sa.Column("token_sha256", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=36), nullable=False),
        sa.Column("expires_at", sa.String(length=27), nullable=False),
        sa.Column("used_at", sa.String(length=27), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["user_account.id"], name=op.f("fk_invitation_user_id")),
        sa.PrimaryKeyConstraint("token_sha256", name=op.f("pk_invitation")),
    )
    op.create_table(
        "role_grant",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.Column("user_id", sa.String(length=36), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("valid_from", sa.String(length=27), nullable=False),
        sa.Column("valid_to", sa.String(length=27), nullable=True),
        sa.Column("granted_by", sa.String(length=36), nullable=True),
        sa.CheckConstraint("role IN ('lead', 'rater', 'senior', 'analyst')", name=op.f("ck_role_grant_role")),
        sa.ForeignKeyConstraint(["granted_by"], ["user_account.id"], name=op.f("fk_role_grant_granted_by")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_role_grant_project_id")),
        sa.ForeignKeyConstraint(["user_id"], ["user_account.id"], name=op.f("fk_role_grant_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_role_grant")),
    )
    op.create_index("ix_role_grant_user", "role_grant", ["user_id", "project_id"], unique=False)
    op.create_table(
        "session",
        sa.Column("token_sha256", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=36), nullable=False),
        sa.Column("csrf", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.Column("seen_at", sa.String(length=27), nullable=False),
        sa.Column("expires_at", sa.String(length=27), nullable=False),
        sa.Column("ended_at", sa.String(length=27), nullable=True),
        sa.Column("address_sha256", sa.String(length=64), nullable=False),
        sa.Column("agent", sa.String(length=80), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user_account.id"], name=op.f("fk_session_user_id")),
        sa.PrimaryKeyConstraint("token_sha256", name=op.f("pk_session")),
    )
    op.create_index("ix_session_user", "session", ["user_id", "ended_at"], unique=False)
    op.create_table(
        "signature",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.Column("user_id", sa.String(length=36), nullable=False),
        sa.Column("printed_name", sa.String(length=80), nullable=False),
        sa.Column("meaning", sa.String(length=16), nullable=False),
        sa.Column("object", sa.String(length=80), nullable=False),
        sa.Column("record_sha256", sa.String(length=64), nullable=False),
        sa.Column("auth_method", sa.String(length=24), nullable=False),
        sa.Column("signed_at", sa.String(length=27), nullable=False),
        sa.Column("voided_at", sa.String(length=27), nullable=True),
        sa.Column("void_reason", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "meaning IN ('rated', 'reviewed', 'adjudicated', 'approved')", name=op.f("ck_signature_meaning")
        ),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_signature_project_id")),
        sa.ForeignKeyConstraint(["user_id"], ["user_account.id"], name=op.f("fk_signature_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signature")),
    )
    op.create_table(
        "evidence_snapshot",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("feature_id", sa.String(length=36), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.ForeignKeyConstraint(["feature_id"], ["feature.id"], name=op.f("fk_evidence_snapshot_feature_id")),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_evidence_snapshot")),
    )
    op.create_table(
        "round",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("title", sa.String(length=80), nullable=False),
        sa.Column("codebook_version_id", sa.String(length=36), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("gate_round_id", sa.String(length=36), nullable=True),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.Column("closed_at", sa.String(length=27), nullable=True),
        sa.CheckConstraint("kind IN ('calibration', 'main', 'blind_extra', 'detection')", name=op.f("ck_round_kind")),
        sa.CheckConstraint("state IN ('draft', 'open', 'paused', 'closed')", name=op.f("ck_round_state")),
        sa.ForeignKeyConstraint(
            ["codebook_version_id"], ["codebook_version.id"], name=op.f("fk_round_codebook_version_id")
        ),
        sa.ForeignKeyConstraint(["gate_round_id"], ["round.id"], name=op.f("fk_round_gate_round_id")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_round_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_round")),
        sa.UniqueConstraint("project_id", "n", name=op.f("uq_round_project_id_n")),
    )
    op.create_table(
        "item",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("round_id", sa.String(length=36), nullable=False),
        sa.Column("feature_id", sa.String(length=36), nullable=False),
        sa.Column("snapshot_sha256", sa.String(length=64), nullable=False),
        sa.Column("stratum", sa.String(length=16), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("n_extra", sa.Integer(), server_default="0", nullable=False),
        sa.Column("place", sa.Integer(), nullable=True),
        sa.Column("state", sa.String(length=16), server_default="open", nullable=False),
        sa.Column("is_free", sa.Integer(), server_default="1", nullable=False),
        sa.Column("n_submitted", sa.Integer(), server_default="0", nullable=False),
        sa.Column("n_held", sa.Integer(), server_default="0", nullable=False),
        sa.Column("posterior", sa.Float(), server_default="0", nullable=False),
        sa.Column("entropy", sa.Float(), server_default="0", nullable=False),
        sa.Column("detail", sa.Text(), server_default="{}", nullable=False),
        sa.Column("retest_of", sa.String(length=36), nullable=True),
        sa.Column("only_for", sa.String(length=36), nullable=True),
        sa.Column("due_at", sa.String(length=27), nullable=True),
        sa.CheckConstraint(
            "state IN ('open', 'rated', 'escalated', 'consensus', 'ambiguous', 'adjudicated', 'locked', 'quarantined', 'stale')",
            name=op.f("ck_item_state"),
        ),
        sa.CheckConstraint(
            "stratum IN ('irr_fixed', 'gold', 'calibration', 'retest', 'adaptive', 'single', 'escalated', 'detection')",
            name=op.f("ck_item_stratum"),
        ),
        sa.ForeignKeyConstraint(["feature_id"], ["feature.id"], name=op.f("fk_item_feature_id")),
        sa.ForeignKeyConstraint(["only_for"], ["user_account.id"], name=op.f("fk_item_only_for")),
        sa.ForeignKeyConstraint(["retest_of"], ["item.id"], name=op.f("fk_item_retest_of")),
        sa.ForeignKeyConstraint(["round_id"], ["round.id"], name=op.f("fk_item_round_id")),
        sa.ForeignKeyConstraint(
            ["snapshot_sha256"], ["evidence_snapshot.sha256"], name=op.f("fk_item_snapshot_sha256")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_item")),
        sa.UniqueConstraint("round_id", "place", name=op.f("uq_item_round_id_place")),
    )
    op.create_index(
        "ix_item_begun",
        "item",
        ["round_id", "stratum", "place"],
        unique=False,
        sqlite_where=sa.text("is_free = 1 AND n_submitted > 0"),
        postgresql_where=sa.text("is_free = 1 AND n_submitted > 0"),
    )
    op.create_index("ix_item_feature", "item", ["feature_id", "round_id"], unique=False)
    op.create_index(
        "ix_item_free",
        "item",
        ["round_id", "stratum", "place"],
        unique=False,
        sqlite_where=sa.text("is_free = 1"),
        postgresql_where=sa.text("is_free = 1"),
    )
    op.create_index("ix_item_only_for", "item", ["only_for", "round_id", "due_at"], unique=False)
    op.create_index("ix_item_progress", "item", ["round_id", "stratum", "state", "n_submitted"], unique=False)
    op.create_index("ix_item_snapshot", "item", ["snapshot_sha256"], unique=False)
    op.create_table(
        "round_rater",
        sa.Column("round_id", sa.String(length=36), nullable=False),
        sa.Column("user_id", sa.String(length=36), nullable=False),
        sa.Column("gate", sa.String(length=16), server_default="none", nullable=False),
        sa.Column("gate_detail", sa.Text(), server_default="{}", nullable=False),
        sa.Column("cursors", sa.Text(), server_default="{}", nullable=False),
        sa.CheckConstraint("gate IN ('none', 'pending', 'passed', 'repeat')", name=op.f("ck_round_rater_gate")),
        sa.ForeignKeyConstraint(["round_id"], ["round.id"], name=op.f("fk_round_rater_round_id")),
        sa.ForeignKeyConstraint(["user_id"], ["user_account.id"], name=op.f("fk_round_rater_user_id")),
        sa.PrimaryKeyConstraint("round_id", "user_id", name=op.f("pk_round_rater")),
    )
    op.create_table(
        "snapshot_document",
        sa.Column("snapshot_sha256", sa.String(length=64), nullable=False),
        sa.Column("document", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["snapshot_sha256"], ["evidence_snapshot.sha256"], name=op.f("fk_snapshot_document_snapshot_sha256")
        ),
        sa.PrimaryKeyConstraint("snapshot_sha256", "document", name=op.f("pk_snapshot_document")),
    )
    op.create_index(op.f("ix_snapshot_document_document"), "snapshot_document", ["document"], unique=False)
    op.create_table(
        "adjudication",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("item_id", sa.String(length=36), nullable=False),
        sa.Column("adjudicator_id", sa.String(length=36), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("disposition", sa.String(length=24), nullable=False),
        sa.Column("error_kind", sa.String(length=24), server_default="other", nullable=False),
        sa.Column("seen", sa.Text(), nullable=False),
        sa.Column("rationale", sa.Text(), nullable=False),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.Column("client_uuid", sa.String(length=36), nullable=False),
        sa.CheckConstraint(
            "disposition IN ('decided', 'irreducibly_ambiguous', 'cannot_judge')",
            name=op.f("ck_adjudication_disposition"),
        ),
        sa.CheckConstraint(
            "error_kind IN ('ambiguous_text', 'guideline_gap', 'rater_error', 'edge_case', 'subjective_disagreement', 'other')",
            name=op.f("ck_adjudication_error_kind"),
        ),
        sa.ForeignKeyConstraint(["adjudicator_id"], ["user_account.id"], name=op.f("fk_adjudication_adjudicator_id")),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_adjudication_item_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_adjudication")),
        sa.UniqueConstraint("client_uuid", name=op.f("uq_adjudication_client_uuid")),
        sa.UniqueConstraint("item_id", "revision", name=op.f("uq_adjudication_item_id_revision")),
    )
    op.create_table(
        "assignment",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("item_id", sa.String(length=36), nullable=False),
        sa.Column("round_id", sa.String(length=36), nullable=False),
        sa.Column("rater_id", sa.String(length=36), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("stratum", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("lease_until", sa.String(length=27), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("skip_reason", sa.String(length=32), nullable=True),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.Column("submitted_at", sa.String(length=27), nullable=True),
        sa.CheckConstraint(
            "state IN ('open', 'submitted', 'skipped', 'expired', 'released', 'surplus')",
            name=op.f("ck_assignment_state"),
        ),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_assignment_item_id")),
        sa.ForeignKeyConstraint(["rater_id"], ["user_account.id"], name=op.f("fk_assignment_rater_id")),
        sa.ForeignKeyConstraint(["round_id"], ["round.id"], name=op.f("fk_assignment_round_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_assignment")),
        sa.UniqueConstraint("item_id", "rater_id", "round_id", name="uq_assignment_one_per_rater"),
    )
    op.create_index(
        "ix_assignment_held",
        "assignment",
        ["round_id", "rater_id"],
        unique=False,
        sqlite_where=sa.text("lease_until IS NOT NULL"),
        postgresql_where=sa.text("lease_until IS NOT NULL"),
    )
    op.create_index("ix_assignment_last", "assignment", ["rater_id", "round_id", "submitted_at"], unique=False)
    op.create_index("ix_assignment_newest", "assignment", ["rater_id", "round_id", "id"], unique=False)
    op.create_index("ix_assignment_rater", "assignment", ["rater_id", "round_id", "state", "id"], unique=False)
    op.create_index(
        "uq_assignment_one_per_slot",
        "assignment",
        ["item_id", "round_id", "slot"],
        unique=True,
        sqlite_where=sa.text("state IN ('open', 'submitted')"),
        postgresql_where=sa.text("state IN ('open', 'submitted')"),
    )
    op.create_table(
        "consensus",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("item_id", sa.String(length=36), nullable=False),
        sa.Column("method", sa.String(length=24), nullable=False),
        sa.Column("params_sha256", sa.String(length=64), nullable=False),
        sa.Column("input_digest", sa.String(length=64), nullable=False),
        sa.Column("distribution", sa.Text(), nullable=False),
        sa.Column("computed_at", sa.String(length=27), nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_consensus_item_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consensus")),
        sa.UniqueConstraint(
            "item_id",
            "method",
            "params_sha256",
            "input_digest",
            name=op.f("uq_consensus_item_id_method_params_sha256_input_digest"),
        ),
    )
    op.create_table(
        "gold",
        sa.Column("item_id", sa.String(length=36), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_gold_item_id")),
        sa.PrimaryKeyConstraint("item_id", name=op.f("pk_gold")),
    )
    op.create_table(
        "note",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("item_id", sa.String(length=36), nullable=False),
        sa.Column("author_id", sa.String(length=36), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.ForeignKeyConstraint(["author_id"], ["user_account.id"], name=op.f("fk_note_author_id")),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_note_item_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_note")),
    )
    op.create_table(
        "draft",
        sa.Column("assignment_id", sa.String(length=36), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("saved_at", sa.String(length=27), nullable=False),
        sa.ForeignKeyConstraint(["assignment_id"], ["assignment.id"], name=op.f("fk_draft_assignment_id")),
        sa.PrimaryKeyConstraint("assignment_id", name=op.f("pk_draft")),
    )
    op.create_table(
        "judgement",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("assignment_id", sa.String(length=36), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("codebook_version_id", sa.String(length=36), nullable=False),
        sa.Column("snapshot_sha256", sa.String(length=64), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("body_sha256", sa.String(length=64), nullable=False),
        sa.Column("active_ms", sa.Integer(), server_default="0", nullable=False),
        sa.Column("wall_ms", sa.Integer(), server_default="0", nullable=False),
        sa.Column("has_seen_explanation", sa.Integer(), server_default="0", nullable=False),
        sa.Column("is_late", sa.Integer(), server_default="0", nullable=False),
        sa.Column("submitted_at", sa.String(length=27), nullable=False),
        sa.Column("client_uuid", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(["assignment_id"], ["assignment.id"], name=op.f("fk_judgement_assignment_id")),
        sa.ForeignKeyConstraint(
            ["codebook_version_id"], ["codebook_version.id"], name=op.f("fk_judgement_codebook_version_id")
        ),
        sa.ForeignKeyConstraint(
            ["snapshot_sha256"], ["evidence_snapshot.sha256"], name=op.f("fk_judgement_snapshot_sha256")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_judgement")),
        sa.UniqueConstraint("assignment_id", "revision", name=op.f("uq_judgement_assignment_id_revision")),
        sa.UniqueConstraint("client_uuid", name=op.f("uq_judgement_client_uuid")),
    )
    op.create_table(
        "judgement_label",
        sa.Column("judgement_id", sa.String(length=36), nullable=False),
        sa.Column("key", sa.String(length=40), nullable=False),
        sa.Column("value", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["judgement_id"], ["judgement.id"], name=op.f("fk_judgement_label_judgement_id")),
        sa.PrimaryKeyConstraint("judgement_id", "key", "value", name=op.f("pk_judgement_label")),
    )
