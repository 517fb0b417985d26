"""Indexes for what the queue asks at every claim, so that it takes as long after a million judgements as after ten."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

HELD = sa.text("lease_until IS NOT NULL")
KNOWN = sa.text("stratum IN ('calibration', 'gold')")


def upgrade() -> None:
    """Makes them."""
    op.create_index("ix_assignment_known", "assignment", ["rater_id"], sqlite_where=KNOWN, postgresql_where=KNOWN)
    op.drop_index("ix_assignment_held", "assignment")
    op.create_index(
        "ix_assignment_held", "assignment", ["round_id", "rater_id", "lease_until"],
        sqlite_where=HELD, postgresql_where=HELD,
    )  # fmt: skip
    op.create_index("ix_coi_rule_user", "coi_rule", ["user_id", "project_id"])
