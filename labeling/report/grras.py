"""The Guidelines for Reporting Reliability and Agreement Studies: 15 items, each with where this report answers it.

What the database knows is answered by sentences made of its figures; what only people know is taken from the study's
file, and asked for where it is missing. An item is never silently left out.

Source: Kottner et al. 2011, "Guidelines for Reporting Reliability and Agreement Studies (GRRAS) were proposed", J Clin
Epidemiol 64:96-106, doi:10.1016/j.jclinepi.2010.03.002. The wording here is our own.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from labeling.report.study import Study


class Item(NamedTuple):
    """One item of the guideline."""

    number: int
    section: str
    asks: str
    anchor: str
    """Section of the page that answers it; none if the lead alone can."""
    study_field: str
    """Key of the study's file that adds to it; none if nothing is to be added."""


ITEMS = (
    Item(1, "Title", "Say in the title or abstract that agreement or reliability was studied.", "top", "title"),
    Item(2, "Introduction", "Name and describe the measurement.", "codebook", "device"),
    Item(3, "Introduction", "Say which population the rated subjects stand for.", "items", "subjects"),
    Item(4, "Introduction", "Say which population the raters stand for.", "raters", "raters"),
    Item(5, "Introduction", "Say what is known on agreement so far, and why the study was done.", "", "background"),
    Item(6, "Methods", "Explain how the numbers of raters, items and repeats were chosen.", "items", "sample_size"),
    Item(7, "Methods", "Describe how items and raters were sampled.", "items", "sampling"),
    Item(8, "Methods", "Describe the rating: time between repeats, what was at hand, blinding.", "methods", "process"),
    Item(9, "Methods", "Say whether ratings were made independently.", "methods", ""),
    Item(10, "Methods", "Describe the statistical analysis.", "methods", ""),
    Item(11, "Results", "Give the actual numbers of raters, items and repeats.", "items", ""),
    Item(12, "Results", "Describe the raters and items: training, experience.", "raters", "training"),
    Item(13, "Results", "Give estimates of agreement with their uncertainty.", "fields", ""),
    Item(14, "Discussion", "Discuss what the results mean in practice.", "", "relevance"),
    Item(15, "Auxiliary", "Make detailed results available.", "origin", "availability"),
)
NEEDS_PEOPLE = {1, 3, 4, 5, 6, 14}
"""Items that figures alone do not answer."""
NEEDS_SAMPLE = {11, 12, 13}
"""Items that have no answer before items of the random stratum have been rated."""


class Answer(NamedTuple):
    """An item as this report answers it."""

    item: Item
    status: Literal["answered", "to fill in"]
    report: str
    """What the figures say; may be empty."""
    study: str
    """What the lead says; may be empty."""
    todo: str
    """What the lead still has to write, and under which key; empty if nothing."""

    def record(self) -> dict[str, Any]:
        """As it stands in the JSON."""
        return {**self.item._asdict(), **{name: getattr(self, name) for name in ("status", "report", "study", "todo")}}


def answers(figures: Mapping[int, str], study: Study, has_sample: bool = True) -> list[Answer]:
    """All fifteen items.

    Args:
        figures: What the report itself says, by number of the item.
        study: What the lead says.
        has_sample: Whether there are judgements that agreement can be estimated on.
    """
    return [answer(item, figures.get(item.number, ""), study, has_sample) for item in ITEMS]


def answer(item: Item, figures: str, study: Study, has_sample: bool) -> Answer:
    """One item; one about which nobody says anything is never answered."""
    words = getattr(study, item.study_field) if item.study_field else ""
    if item.number in NEEDS_SAMPLE and not has_sample:
        todo = "Nothing to report before items of the random stratum are rated in a main round."
    elif words or (figures and item.number not in NEEDS_PEOPLE):
        todo = ""
    else:
        where = f", as `{item.study_field}:` in the study's file" if item.study_field else ""
        todo = f"For the lead to write{where}."
    return Answer(item, "to fill in" if todo else "answered", figures, words, todo)
