"""Statements that are compiled once and handed to the driver as they are.

SQLAlchemy takes four times as long to execute a small statement as SQLite takes to answer it, and building one anew as long
again. What the queue asks at every claim is therefore written once, as any statement, and goes straight to the driver: in the
connection's transaction, with the same errors. Rows are named tuples of what the driver gives, which for our columns (texts,
integers, floats) is what SQLAlchemy would give.
"""

from collections import namedtuple
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import BindParameter, Connection, Delete, Insert, Select, TextClause, Update, exc
from sqlalchemy.sql.visitors import iterate

Statement = Select[*tuple[Any, ...]] | Insert | Update | Delete | TextClause
Values = Mapping[str, Any]


class Compiled(NamedTuple):
    """A statement in the words of one kind of database."""

    text: str
    names: tuple[str, ...] | None
    """Of its places, in order; none where the driver takes values by name."""
    fixed: dict[str, Any]
    """Values that stand in the statement."""

    def filled(self, values: Values) -> Any:
        """What the driver takes beside the text."""
        whole = {**self.fixed, **values}
        return whole if self.names is None else [whole[name] for name in self.names]


class Prepared:
    """A statement whose values are given by name; of an INSERT or UPDATE, its columns' as well."""

    def __init__(self, statement: Statement) -> None:
        self.statement = statement
        self.compiled: dict[tuple[str, ...], Compiled] = {}
        """By kind of database and names of the values."""
        binds = (one for one in iterate(statement) if isinstance(one, BindParameter))
        self.is_fixed = not any(one.expanding for one in binds)
        """Not where a value is a list: the text depends on its length, which SQLAlchemy sees to."""
        self.makers: dict[str, Callable[[Any], Any]] = {}
        """How a row is made, by kind of database."""

    def run(self, conn: Connection, values: Values) -> None:
        """Executes it for its effect."""
        self.execute(conn, values)

    def first(self, conn: Connection, values: Values) -> Any:
        """Its first row, or none."""
        cursor = self.execute(conn, values)
        row = cursor.fetchone()
        return None if row is None else self.maker(conn, cursor)(row)

    def rows(self, conn: Connection, values: Values) -> list[Any]:
        """All its rows."""
        if not self.is_fixed:
            return list(conn.execute(self.statement, values))
        cursor = self.execute(conn, values)
        return list(map(self.maker(conn, cursor), cursor.fetchall()))

    def execute(self, conn: Connection, values: Values) -> Any:
        """The driver's cursor.

        Raises:
            DBAPIError: The database refused it.
        """
        kind = conn.dialect.name
        found = self.compiled.get((kind, *values)) or self.compile(conn, values)
        try:
            return driver_of(conn).execute(found.text, found.filled(values))
        except conn.dialect.loaded_dbapi.Error as error:
            base = conn.dialect.loaded_dbapi.Error
            raise exc.DBAPIError.instance(found.text, None, error, base, True, dialect=conn.dialect) from error

    def compile(self, conn: Connection, values: Values) -> Compiled:
        """Brings it into the words of a database."""
        if not self.is_fixed:
            raise TypeError("a statement with a list among its values is asked for its rows")
        made = self.statement.compile(dialect=conn.dialect, column_keys=list(values))
        names = tuple(made.positiontup or ()) if made.positional else None
        fixed = {name: value for name, value in made.params.items() if value is not None}
        found = self.compiled[(conn.dialect.name, *values)] = Compiled(str(made), names, fixed)
        return found

    def maker(self, conn: Connection, cursor: Any) -> Callable[[Any], Any]:
        """What makes a named tuple of a row."""
        kind = conn.dialect.name
        if kind not in self.makers:
            self.makers[kind] = namedtuple("Row", [column[0] for column in cursor.description], rename=True)._make
        return self.makers[kind]


def driver_of(conn: Connection) -> Any:
    """The driver's own connection, in the transaction that `conn` began."""
    return conn.connection.driver_connection
