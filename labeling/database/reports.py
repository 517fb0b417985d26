"""Agreement reports that are kept as they were, so that they can be signed and read again."""

import json
from typing import Any

from sqlalchemy import Connection, select

from labeling.database import audit
from labeling.database.errors import NotFound
from labeling.database.schema import report
from labeling.database.transaction import Actor, now
from labeling.identifiers import canonical, new_id


def keep_report(conn: Connection, actor: Actor, project_id: str, found: dict[str, Any]) -> str:
    """Stores a report's figures; the id of the one that is there, if the same was kept before.

    Args:
        conn: Of `Database.write`.
        actor: Who keeps it.
        project_id: Whose.
        found: Of `labeling.report.findings`.
    """
    body, origin = canonical(found), found["provenance"]
    same = (report.c.project_id == project_id, report.c.input_digest == origin["input_digest"], report.c.body == body)
    known = conn.execute(select(report.c.id).where(*same)).scalar_one_or_none()
    if known is not None:
        return known
    row = {
        "id": new_id(),
        "project_id": project_id,
        "scope": f"agreement, codebook version {found['config']['codebook']}",
        "input_digest": origin["input_digest"],
        "seed": origin["seed"],
        "software_version": origin["software"],
        "body": body,
        "created_at": now(conn),
    }
    audit.record(conn, report, row, project_id, actor, "report_kept", {"scope": row["scope"]})
    return row["id"]


def kept_report(conn: Connection, project_id: str, report_id: str) -> dict[str, Any]:
    """The figures of a report as they were kept.

    Raises:
        NotFound: There is none of that id in the project.
    """
    query = select(report.c.body).where(report.c.id == report_id, report.c.project_id == project_id)
    body = conn.execute(query).scalar_one_or_none()
    if body is None:
        raise NotFound("There is no such report in this project, expected a kept one. See the list of signatures.")
    return json.loads(body)
