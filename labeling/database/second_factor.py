"""The second factor: a code of six digits that changes every 30 s (TOTP), each good once; recovery codes for a lost phone.

Source: RFC 6238; single use after its section 5.2.
"""

import hmac
import secrets
from typing import NamedTuple

import pyotp
from pyotp.totp import TOTP
from sqlalchemy import Connection, select

from labeling.database import accounts, audit
from labeling.database.connection import Database
from labeling.database.errors import NotAllowed
from labeling.database.schema import credential
from labeling.database.transaction import Actor, now
from labeling.identifiers import canonical, moment, sha256

N_RECOVERY_CODES = 10
STEP_S = 30


class Enrolment(NamedTuple):
    """What is typed or scanned into an authenticator."""

    secret: str
    uri: str
    """`otpauth://…`, for a QR code."""


def enrol(conn: Connection, actor: Actor, user_id: str) -> Enrolment:
    """A new secret; it counts from `confirm` on."""
    secret = pyotp.random_base32()
    accounts.keep(conn, user_id, totp_secret=secret, totp_confirmed=0, totp_last_step=0)
    audit.append(conn, audit.SYSTEM, actor, "second_factor_enrolled", f"user:{user_id}")
    login = accounts.user_of(conn, user_id).login
    return Enrolment(secret, TOTP(secret).provisioning_uri(name=login, issuer_name="ClinLens"))


def confirm(conn: Connection, actor: Actor, user_id: str, code: str) -> tuple[str, ...]:
    """Turns the second factor on by its first code; gives the recovery codes, which are shown this once.

    Raises:
        NotAllowed: The code is wrong.
    """
    if not accepts(conn, user_id, code):
        raise NotAllowed(accounts.WRONG)
    codes = tuple(secrets.token_hex(5) for _ in range(N_RECOVERY_CODES))
    accounts.keep(conn, user_id, totp_confirmed=1, recovery_hashes=canonical([sha256(code.encode()) for code in codes]))
    audit.append(conn, audit.SYSTEM, actor, "second_factor_confirmed", f"user:{user_id}")
    return codes


def check(database: Database, user_id: str, code: str) -> None:
    """Takes a code of the authenticator or a recovery code, each once; wrong ones make the next try wait.

    Raises:
        NotAllowed: It is wrong, was used, or it is too early for another try.
    """
    with database.read() as conn:
        query = select(credential.c.retry_after).where(credential.c.user_id == user_id)
        accounts.refuse_early(conn, conn.execute(query).scalar_one_or_none())
    with database.write() as conn:
        is_right = accepts(conn, user_id, code) or recovers(conn, user_id, code)
        if is_right:
            accounts.keep(conn, user_id, failures=0, retry_after=None)
    if not is_right:
        accounts.fail(database, user_id)
        raise NotAllowed(accounts.WRONG)


def accepts(conn: Connection, user_id: str, code: str) -> bool:
    """Whether a code is right and newer than the last one taken; it is taken. One step early or late is allowed for."""
    row = conn.execute(
        select(credential.c.totp_secret, credential.c.totp_last_step)
        .where(credential.c.user_id == user_id)
        .with_for_update()
    ).one_or_none()
    if row is None or row.totp_secret is None:
        return False
    totp, step = TOTP(row.totp_secret), int(moment(now(conn)).timestamp()) // STEP_S
    for tried in (step - 1, step, step + 1):
        if tried > row.totp_last_step and hmac.compare_digest(totp.at(tried * STEP_S), code.strip()):
            accounts.keep(conn, user_id, totp_last_step=tried)
            return True
    return False


def recovers(conn: Connection, user_id: str, code: str) -> bool:
    """Whether a recovery code is right; it is used up."""
    hashes, found = accounts.recovery_hashes(conn, user_id), sha256(code.strip().casefold().encode())
    if found not in hashes:
        return False
    accounts.keep(conn, user_id, recovery_hashes=canonical([one for one in hashes if one != found]))
    audit.append(conn, audit.SYSTEM, Actor(user_id), "recovery_code_used", f"user:{user_id}")
    return True
