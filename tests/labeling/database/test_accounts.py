"""Signing in: invitations once, weak passwords refused, back-off instead of lock-out, codes once, sessions that end."""

import pyotp
import pytest
from sqlalchemy import select

from labeling.database import accounts, passwords, schema, second_factor, sessions
from labeling.database.connection import Database
from labeling.database.errors import NotAllowed, NotFound
from labeling.database.transaction import PROGRAM, Actor
from sae.errors import UserError
from tests.labeling.desk import Wall

GOOD = "seven crows on a wire"


@pytest.fixture
def person(database: Database) -> accounts.User:
    """Somebody who has set a password."""
    with database.write() as conn:
        house = accounts.add_institution(conn, PROGRAM, "General Hospital")
        one = accounts.add_user(conn, PROGRAM, login="b.meyer", display_name="Berta Meyer", institution_id=house.id)
        token = accounts.invite(conn, PROGRAM, one.id)
    return accounts.accept_invitation(database, token, GOOD)


def test_an_invitation_is_good_once_and_not_for_ever(database: Database, wall: Wall):
    with database.write() as conn:
        house = accounts.add_institution(conn, PROGRAM, "General Hospital")
        one = accounts.add_user(conn, PROGRAM, login="b.meyer", display_name="Berta Meyer", institution_id=house.id)
        first, second = accounts.invite(conn, PROGRAM, one.id), accounts.invite(conn, PROGRAM, one.id)
    with pytest.raises(NotFound):
        accounts.accept_invitation(database, first, GOOD)
    assert accounts.accept_invitation(database, second, GOOD).status == "active"
    with pytest.raises(NotFound):
        accounts.accept_invitation(database, second, GOOD)
    with database.write() as conn:
        third = accounts.invite(conn, PROGRAM, one.id)
    wall.pass_(hours=73)
    with pytest.raises(NotFound):
        accounts.accept_invitation(database, third, GOOD)


@pytest.mark.parametrize(
    "password",
    ["short", "password1234", "P@ssw0rd2024!!", "123456789012", "qwertyuiopasdf", "aaaaaaaaaaaa", "Meyer-2026-2026"],
)
def test_weak_passwords_are_refused_and_not_repeated(password: str):
    with pytest.raises(UserError) as caught:
        passwords.refuse_weak(password, "b.meyer", "Berta Meyer")
    assert password not in str(caught.value)


def test_a_sentence_is_a_good_password():
    passwords.refuse_weak(GOOD, "b.meyer", "Berta Meyer")


def test_shared_names_are_refused(database: Database):
    with database.write() as conn:
        house = accounts.add_institution(conn, PROGRAM, "General Hospital")
    for login in ("admin", "Nurse", "x", "a b"):
        with pytest.raises(UserError, match="nobody's in particular"), database.write() as conn:
            accounts.add_user(conn, PROGRAM, login=login, display_name="X", institution_id=house.id)


def test_wrong_passwords_make_the_next_try_wait_longer(database: Database, person: accounts.User, wall: Wall):
    for _ in range(3):
        with pytest.raises(NotAllowed, match="wrong"):
            accounts.check_password(database, "b.meyer", "another long password")
    with pytest.raises(NotAllowed, match="several wrong tries"):
        accounts.check_password(database, "b.meyer", GOOD)
    wall.pass_(seconds=2)
    assert accounts.check_password(database, "B.Meyer", GOOD).id == person.id


def test_an_unknown_name_gets_the_same_words(database: Database):
    with pytest.raises(NotAllowed) as caught:
        accounts.check_password(database, "nobody.here", GOOD)
    assert str(caught.value) == accounts.WRONG


def test_a_code_is_good_once_and_a_recovery_code_too(database: Database, person: accounts.User, wall: Wall):
    me = Actor(person.id)
    with database.write() as conn:
        secret = second_factor.enrol(conn, me, person.id).secret
        codes = second_factor.confirm(conn, me, person.id, pyotp.TOTP(secret).at(wall.at))
    assert accounts.check_password(database, "b.meyer", GOOD).has_totp
    wall.pass_(seconds=60)
    code = pyotp.TOTP(secret).at(wall.at)
    second_factor.check(database, person.id, code)
    with pytest.raises(NotAllowed):
        second_factor.check(database, person.id, code)
    second_factor.check(database, person.id, codes[0])
    with pytest.raises(NotAllowed):
        second_factor.check(database, person.id, codes[0])


def test_a_session_ends_when_idle_when_old_and_when_its_owner_is_disabled(
    database: Database, person: accounts.User, wall: Wall
):
    def opened() -> sessions.NewSession:
        with database.write() as conn:
            return sessions.open_session(conn, person.id, address="127.0.0.1")

    def found(token: str) -> bool:
        with database.read() as conn:
            return sessions.find_session(conn, token) is not None

    idle = opened()
    assert found(idle.token)
    wall.pass_(minutes=16)
    assert not found(idle.token)
    old = opened()
    for _ in range(80):
        wall.pass_(minutes=10)
        with database.write() as conn:
            sessions.touch(conn, old.actor)
    assert not found(old.token)
    last = opened()
    with database.write() as conn:
        accounts.disable_user(conn, PROGRAM, person.id, "left")
    assert not found(last.token)


def test_neither_token_nor_password_is_stored(database: Database, person: accounts.User):
    with database.write() as conn:
        token = sessions.open_session(conn, person.id, address="127.0.0.1").token
    with database.read() as conn:
        for table in ("session", "credential", "invitation", "audit_event"):
            said = str(conn.execute(select(schema.metadata.tables[table])).all())
            assert token not in said
            assert GOOD not in said
