"""Statements handed to the driver give what SQLAlchemy gives, in the same transaction and with the same errors."""

import pytest
from sqlalchemy import bindparam, exc, insert, select, update

from labeling.database.connection import Database
from labeling.database.prepared import Prepared
from labeling.database.schema import institution

ADD = Prepared(insert(institution))
NAMED = select(institution).where(institution.c.name == bindparam("name"))
RENAME = Prepared(update(institution).where(institution.c.id == bindparam("this")))


def house(number: int) -> dict[str, str]:
    return {"id": f"id {number}", "name": f"House {number}", "created_at": "2026-01-05T08:00:00.000000Z"}


def test_rows_are_those_of_sqlalchemy(database: Database):
    with database.write() as conn:
        for number in range(3):
            ADD.run(conn, house(number))
        RENAME.run(conn, {"this": "id 1", "name": "Other"})
        assert Prepared(NAMED).first(conn, {"name": "House 1"}) is None
        found = Prepared(NAMED).first(conn, {"name": "Other"})
        assert found == tuple(conn.execute(NAMED, {"name": "Other"}).one())
        assert (found.id, found.name) == ("id 1", "Other")
        every = select(institution.c.id).order_by(institution.c.id).limit(bindparam("most"))
        assert [row.id for row in Prepared(every).rows(conn, {"most": 2})] == ["id 0", "id 1"]


def test_a_list_of_any_length_is_sqlalchemys_work(database: Database):
    some = Prepared(select(institution.c.id).where(institution.c.id.in_(bindparam("ids", expanding=True))))
    with database.write() as conn:
        ADD.run(conn, house(0))
        assert [len(some.rows(conn, {"ids": ids})) for ids in ([], ["id 0"], ["id 0", "id 1"])] == [0, 1, 1]


def test_it_belongs_to_the_transaction_and_fails_as_the_others_do(database: Database):
    def twice() -> None:
        with database.write() as conn:
            ADD.run(conn, house(0))
            ADD.run(conn, house(0))

    with pytest.raises(exc.IntegrityError):
        twice()
    with database.read() as conn:
        assert Prepared(NAMED).first(conn, {"name": "House 0"}) is None
