"""Passwords: which are taken, and how they are kept.

Argon2id with 46 MiB and one pass, at most two at a time, so that a flood of sign-ins cannot take the machine's memory.
Twelve characters or more of any kind; no rules of composition and no forced change, which make passwords worse; not
what everybody tries first. A common one that is hidden behind figures or written with @ for a is common still.

Source: OWASP ASVS 5.0, 6.2.1–6.2.12 and appendix C (46 MiB, t = 1, p = 1).
"""

import gzip
import re
import threading
from functools import cache
from importlib import resources

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from sae.errors import UserError

MIN_CHARACTERS, MAX_CHARACTERS = 12, 256
HASHER = PasswordHasher(time_cost=1, memory_cost=46 * 1024, parallelism=1)
AT_ONCE = threading.Semaphore(2)
LEET = str.maketrans("@4301!5$7", "aaeoiisst")


def new_hash(password: str) -> str:
    """The PHC string of a password."""
    with AT_ONCE:
        return HASHER.hash(password)


def matches(phc: str | None, password: str) -> bool:
    """Whether a password is the one that was hashed; without a hash it takes as long and is not."""
    with AT_ONCE:
        try:
            return HASHER.verify(phc or nobodys(), password[:MAX_CHARACTERS]) and phc is not None
        except (VerificationError, InvalidHashError):
            return False


def is_outdated(phc: str) -> bool:
    """Whether it was hashed with other parameters than today's."""
    return HASHER.check_needs_rehash(phc)


@cache
def nobodys() -> str:
    """A hash that no password has, so that an unknown name takes as long as a known one."""
    return HASHER.hash("\0")


def refuse_weak(password: str, *context: str) -> None:
    """Refuses a password that is short or that everybody tries first.

    Args:
        password: As typed.
        context: Words near the person: name, login, institution, project.

    Raises:
        UserError: It is weak; the sentence never holds it.
    """
    if not MIN_CHARACTERS <= len(password) <= MAX_CHARACTERS:
        raise UserError(
            f"The password has {len(password)} characters, expected {MIN_CHARACTERS} to {MAX_CHARACTERS}. "
            "Four or five unrelated words are easy to remember."
        )
    core = core_of(password)
    near = {core_of(part) for text in ("clinlens", *context) for part in re.split(r"\W+", text) if len(part) > 3}
    if core in common() or core in near or len(set(password.casefold())) < 5 or is_run(password):
        raise UserError(
            "The password is a common one, a name near you or a plain sequence, expected one that nobody would try. "
            "Four or five unrelated words are easy to remember."
        )


def core_of(password: str) -> str:
    """What is left without figures and signs at the ends, and with letters for the signs that stand for them."""
    bare = re.sub(r"^[\W\d_]+|[\W\d_]+$", "", password.casefold())
    letters = bare.translate(LEET)
    half, rest = divmod(len(letters), 2)
    return letters[:half] if half > 2 and not rest and letters[:half] == letters[half:] else letters


def is_run(password: str) -> bool:
    """Whether each character is the next one of the alphabet or the keyboard: 123456789012, abcdefghijkl."""
    rows = ("01234567890123456789", "abcdefghijklmnopqrstuvwxyz", "qwertyuiopasdfghjklzxcvbnm")
    text = password.casefold()
    return any(text in row or text[::-1] in row for row in rows)


@cache
def common() -> frozenset[str]:
    """The cores of the most common passwords."""
    packed = resources.files("labeling.database").joinpath("common_passwords.txt.gz").read_bytes()
    return frozenset(core_of(line) for line in gzip.decompress(packed).decode().split()) - {""}
