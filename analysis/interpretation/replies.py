"""What a language model answered, read without trust: an explanation of one line, or a list of yes and no."""

import json
import re
import unicodedata

MOST_CHARACTERS = 300
MOST_READ = 20_000
"""Characters of an answer that are looked at."""
DECORATION = " \t*#>`\"'-"
THINKING = re.compile(r"<think>.*?</think>", re.DOTALL)
LIST = re.compile(r"\[[^\[\]]*\]")


def explanation(reply: str) -> str | None:
    """The first line that says something, without marks and control characters; none where there is none."""
    for line in THINKING.sub("", reply[:MOST_READ]).splitlines():
        text = "".join(one for one in line if unicodedata.category(one)[0] != "C")
        text = re.sub(r"^(explanation|answer)\s*:", "", text.strip(DECORATION), flags=re.IGNORECASE).strip(DECORATION)
        if any(one.isalnum() for one in text):
            return text[:MOST_CHARACTERS]
    return None


def marks(reply: str, n: int) -> list[bool] | None:
    """The last list in an answer that holds n times yes or no; none where there is none.

    Args:
        reply: The answer.
        n: Passages asked about.
    """
    for found in reversed(LIST.findall(THINKING.sub("", reply[:MOST_READ]))):
        try:
            values = json.loads(found)
        except ValueError:
            continue
        if len(values) == n and all(one in (0, 1) and not isinstance(one, float) for one in values):
            return [bool(one) for one in values]
    return None
