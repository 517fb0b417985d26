"""What a rater is called outside the database.

The keyed hash of the account's id under the project's secret: the same rater has one name in all exports of a project,
and nobody without the key can go from name to person or from one project to another. Those who came with another
institution's export keep the name they came with, so that it can be merged again and again.
"""

import hashlib
import hmac

FOREIGN = "foreign"
"""Status of an account that came with an export; its login is the pseudonym."""
N_DIGITS = 16
"""64 bits: among a million raters, no two share a name but once in 37 million projects."""


def pseudonym(project_key: str, user_id: str) -> str:
    """A rater's name outside."""
    digest = hmac.new(project_key.encode(), user_id.encode(), hashlib.sha256).hexdigest()
    return f"R-{digest[:N_DIGITS]}"


def name_outside(project_key: str, user_id: str, login: str, status: str) -> str:
    """The same of an account, which may have brought its name."""
    return login if status == FOREIGN else pseudonym(project_key, user_id)
