"""Demonstration data: features of a finished run, people who do not exist, and judgements drawn with known skill.

Everything in it is marked as simulated. The same seed makes the same rounds, raters and answers; ids and invitations are
fresh each time. Made as if over the last eight weeks, so that retests, drift and calibration have something to show.
"""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from labeling import snapshots
from labeling.codebook import Codebook
from labeling.codebook_file import default_codebook
from labeling.database import accounts, projects, roles, rounds, submissions
from labeling.database.assignments import Empty, next_assignment, task_of
from labeling.database.clock import Clock
from labeling.database.connection import Database
from labeling.database.rounds import PlannedItem
from labeling.database.submissions import Sent
from labeling.database.transaction import PROGRAM, Actor
from labeling.evidence import Snapshot
from labeling.round_settings import RoundSettings
from sae.errors import UserError

N_CALIBRATION, N_FIXED, N_ADAPTIVE, N_GOLD = 16, 60, 60, 6
WEEKS = 8
PEOPLE: tuple[tuple[str, str, roles.Role, str], ...] = (
    ("lead.demo", "Lea Lead", "lead", "internal medicine"),
    ("rater.one", "Rae One", "rater", "cardiology"),
    ("rater.two", "Tom Two", "rater", "emergency medicine"),
    ("senior.demo", "Sena Senior", "senior", "internal medicine"),
    ("analyst.demo", "Ana Analyst", "analyst", ""),
)
"""Who gets an invitation."""
SKILLS = (0.93, 0.9, 0.86, 0.82, 0.78, 0.72, 0.65)
"""Probability of each simulated rater's right answer."""
BRANCHES = {
    "disease": "diagnosis",
    "finding": "symptom_or_sign",
    "measurement": "laboratory_or_measurement",
    "treatment": "medication",
    "anatomy": "anatomy",
    "person": "demographic",
    "discourse": "administrative_or_format",
}
"""What a branch of the vocabulary means as a category."""
NEAR = {
    "diagnosis": "symptom_or_sign",
    "symptom_or_sign": "diagnosis",
    "medication": "procedure",
    "laboratory_or_measurement": "symptom_or_sign",
    "anatomy": "symptom_or_sign",
    "demographic": "administrative_or_format",
    "administrative_or_format": "language_or_syntax",
    "language_or_syntax": "administrative_or_format",
}
"""What a simulated rater takes a category for, two times in three, when wrong."""


class Invitation(NamedTuple):
    """How somebody signs in for the first time."""

    login: str
    name: str
    role: str
    token: str


class Demo(NamedTuple):
    """What was made."""

    project_id: str
    round_id: str
    """The main round, partly rated."""
    n_judgements: int
    invitations: list[Invitation]


@dataclass
class Calendar:
    """The clock of the demonstration: it goes on by itself, and ahead when something happens."""

    at: datetime
    began: float

    def __call__(self) -> datetime:
        return self.at

    def pace(self) -> float:
        return self.at.timestamp() - self.began

    def go(self, **span: float) -> None:
        """Time passes."""
        self.at += timedelta(**span)


class Character(NamedTuple):
    """A simulated rater."""

    actor: Actor
    skill: float
    random: Random


def create(path: str | Path, run_folder: Path, *, seed: int = 0) -> Demo:
    """Makes a database of demonstration data from a finished run.

    Args:
        path: An absent file, or an empty PostgreSQL database.
        run_folder: A finished run, as `make run` leaves it in `runs/quickstart`.
        seed: Of everything that is drawn.

    Raises:
        UserError: The run is not finished or has too few features, or the database is not empty.
    """
    if not (run_folder / "examples").is_dir():
        raise UserError(
            f"{run_folder} holds no finished run, expected one with feature examples. Run `make run` first."
        )
    start = datetime.fromtimestamp(time.time(), UTC) - timedelta(weeks=WEEKS)
    calendar = Calendar(start, start.timestamp())
    with Database.open(path, create=True, clock=Clock(calendar, calendar.pace)) as database:
        return fill(database, calendar, run_folder, seed)


def fill(database: Database, calendar: Calendar, run_folder: Path, seed: int) -> Demo:
    """People, rounds and judgements."""
    plans = plan(run_folder, seed)
    with database.write() as conn:
        if roles.n_administrators(conn):
            raise UserError(
                "The database has people in it, expected an empty one for the demonstration. Choose another file."
            )
        project = projects.create_project(
            conn,
            PROGRAM,
            "Demonstration (simulated raters)",
            seed=seed,
            data_use_note="Synthetic notes; nobody's data.",
        )
        codebook = default_codebook()
        version = projects.publish_codebook(
            conn, PROGRAM, project.id, codebook, "The one that comes with ClinLens"
        ).version
        people = add_people(conn, project.id)
        cast = add_cast(conn, project.id, seed)
        raters = [person.id for person, role in people if role == "rater"]
        everybody = [one.actor.user_id or "" for one in cast]
        calibration = rounds.open_round(
            conn, PROGRAM, project.id, kind="calibration", title="Calibration (simulated)", seed=seed,
            codebook_version_id=version.id, items=plans["calibration"], rater_ids=everybody,
        )  # fmt: skip
    n_judgements = sum(work(database, calendar, one, calibration.id, codebook, None) for one in cast)
    calendar.go(weeks=1)
    with database.write() as conn:
        main = rounds.open_round(
            conn, PROGRAM, project.id, kind="main", title="Main round (simulated)", seed=seed,
            codebook_version_id=version.id, items=plans["main"], rater_ids=[*raters, *everybody],
            settings=RoundSettings(retest_share=0.25),
        )  # fmt: skip
    for n_items in (14, 12, 10, 18):
        n_judgements += sum(work(database, calendar, one, main.id, codebook, n_items) for one in cast[:-1])
        calendar.go(weeks=2)
    with database.write() as conn:
        tokens = [accounts.invite(conn, PROGRAM, person.id, valid_h=24 * 7 * (WEEKS + 1)) for person, _ in people]
    invitations = [
        Invitation(person.login, person.display_name, role, token)
        for (person, role), token in zip(people, tokens, strict=True)
    ]
    return Demo(project.id, main.id, n_judgements, invitations)


def add_people(conn: Any, project_id: str) -> list[tuple[accounts.User, roles.Role]]:
    """Those who will sign in; the lead administers."""
    house = accounts.add_institution(conn, PROGRAM, "Your hospital (demonstration)")
    found = []
    for login, name, role, specialty in PEOPLE:
        person = accounts.add_user(
            conn, PROGRAM, login=login, display_name=f"{name} (demonstration)", institution_id=house.id,
            specialty=specialty, is_administrator=role == "lead",
        )  # fmt: skip
        roles.grant_role(conn, PROGRAM, project_id, person.id, role)
        found.append((person, role))
    return found


def add_cast(conn: Any, project_id: str, seed: int) -> list[Character]:
    """Simulated raters of two institutions; they can never sign in, since nobody invites them."""
    houses = [accounts.add_institution(conn, PROGRAM, f"{name} Hospital (simulated)") for name in ("North", "South")]
    cast = []
    for number, skill in enumerate(SKILLS):
        person = accounts.add_user(
            conn, PROGRAM, login=f"simulated.{number + 1}", display_name=f"Simulated rater {number + 1}",
            institution_id=houses[number % 2].id, specialty=("cardiology", "emergency medicine", "radiology")[number % 3],
            seniority=("resident", "attending")[number % 2],
        )  # fmt: skip
        roles.grant_role(conn, PROGRAM, project_id, person.id, "rater")
        random = Random(f"demo {seed} {number}")  # noqa: S311 - nothing here is secret
        cast.append(Character(Actor(person.id), skill, random))
    return cast


def plan(run_folder: Path, seed: int) -> dict[str, list[PlannedItem]]:
    """The features of a run that rounds will ask about: of its deepest hook point's last autoencoder.

    Raises:
        UserError: There are too few.
    """
    hook_point, sae_id = snapshots.saes_of(run_folder)[-1]
    fit = snapshots.candidate_features(run_folder, hook_point, sae_id)
    wanted = N_CALIBRATION + N_FIXED + N_ADAPTIVE + N_GOLD
    if len(fit) < wanted // 2:
        raise UserError(
            f"{run_folder} has {len(fit)} features to ask about, expected {wanted // 2} or more. Run `make run` first."
        )
    Random(f"features {seed}").shuffle(fit)  # noqa: S311 - nothing here is secret
    shares = [round(n * min(1.0, len(fit) / wanted)) for n in (N_CALIBRATION, N_FIXED, N_ADAPTIVE, N_GOLD)]
    strata = ("calibration", "irr_fixed", "adaptive", "gold")
    slots = {"calibration": len(SKILLS), "irr_fixed": 3, "adaptive": 2, "gold": len(SKILLS) + len(PEOPLE)}
    planned: dict[str, list[PlannedItem]] = {"calibration": [], "main": []}
    left = iter(fit)
    for stratum, n_items in zip(strata, shares, strict=True):
        for _ in range(n_items):
            one = next(left)
            evidence = snapshots.snapshot_of(run_folder, hook_point, sae_id, one.number)
            known = {"category": meaning_of(evidence)} if stratum in ("calibration", "gold") else None
            source = "simulated: the rule that the simulated raters follow" if known else ""
            item = PlannedItem(evidence, stratum, slots[stratum], one.family, known, source)
            planned["calibration" if stratum == "calibration" else "main"].append(item)
    return planned


def work(
    database: Database, calendar: Calendar, one: Character, round_id: str, codebook: Codebook, n_items: int | None
) -> int:
    """A simulated rater's session; how many items it got through."""
    done = 0
    while n_items is None or done < n_items:
        with database.write() as conn:
            given = next_assignment(conn, one.actor, round_id)
            if isinstance(given, Empty):
                return done
            task = task_of(conn, one.actor, given.id)
        seconds = one.random.uniform(20, 120)
        calendar.go(seconds=seconds)
        answers = answers_of(one, task.snapshot, codebook)
        name = str(uuid.UUID(int=one.random.getrandbits(128), version=4))
        active_ms = int(seconds * 900)
        with database.write() as conn:
            submissions.submit(
                conn, one.actor, given.id, answers, Sent(name, given.version, active_ms, int(seconds * 1000))
            )
        done += 1
    return done


def answers_of(one: Character, snapshot: Mapping[str, Any], codebook: Codebook) -> dict[str, Any]:
    """A simulated rater's answers: right with their skill, else near it or anywhere."""
    words, term = word_of(snapshot)
    meant = category_of(term)
    said, random = meant, one.random
    if random.random() > one.skill:
        others = [category.code for category in codebook.question("category").categories if category.code != meant]
        said = NEAR[meant] if meant in NEAR and random.random() < 2 / 3 else random.choice(others)
    sure = 4 if said == meant else 3
    return {
        "category": said,
        "concept": {"codes": [term] if term and random.random() < one.skill else [], "words": words[:60]},
        "interpretability": f"s{random.choice((sure - 1, sure, 5))}",
        "monosemanticity": f"s{random.choice((sure - 1, sure, sure))}",
        "clinical_relevance": f"s{random.choice((1, 2)) if said in ('language_or_syntax', 'administrative_or_format') else sure}",
        "protected_attribute": protected_of(term),
        "confidence": f"s{min(5, sure + random.choice((-1, 0, 1)))}",
        "rationale": {
            "text": f"Simulated: the strongest passages share the words “{words[:60]}”.",
            "spans": [{"context": 0, "start": peak_of(snapshot), "end": peak_of(snapshot) + 1}],
        },
    }


def meaning_of(snapshot: Snapshot) -> str:
    """The category that the simulated raters take for right."""
    return category_of(word_of(snapshot.body)[1])


def word_of(snapshot: Mapping[str, Any]) -> tuple[str, str]:
    """The commonest strongest word of the passages, and the concept whose name or synonym it is part of."""
    counts: dict[str, int] = {}
    for context in snapshot["contexts"]:
        if context["kind"] != "contrast":
            word = context["tokens"][context["peak"]].strip().casefold()
            counts[word] = counts.get(word, 0) + 1
    words = sorted(counts, key=lambda word: (-counts[word], word))
    known = next((word for word in words if word in terms_by_word()), None)
    return (known, terms_by_word()[known]) if known else (words[0] or "blank", "")


@lru_cache
def terms_by_word() -> dict[str, str]:
    """Every word of four letters or more in the vocabulary, with the first concept it stands in."""
    vocabulary, found = default_codebook().vocabulary, {}
    for term in vocabulary.terms if vocabulary else ():
        for phrase in (term.name, *term.synonyms):
            for word in phrase.casefold().replace("-", " ").split():
                if len(word) > 3:
                    found.setdefault(word, term.code)
    return found


@lru_cache
def parents() -> dict[str, str | None]:
    """Every concept's broader one."""
    vocabulary = default_codebook().vocabulary
    return {term.code: term.parent for term in vocabulary.terms} if vocabulary else {}


def path_of(term: str) -> list[str]:
    """A concept and all broader ones."""
    path = [term]
    while (parent := parents().get(path[-1])) is not None:
        path.append(parent)
    return path


def category_of(term: str) -> str:
    """The category of a concept; of none, a rule of language."""
    path = path_of(term)
    if "procedure" in path:
        return "procedure"
    if path[0] in ("negation", "uncertainty"):
        return "negation_or_uncertainty"
    return BRANCHES.get(path[-1], "language_or_syntax")


def protected_of(term: str) -> str:
    """The protected attribute that a concept is."""
    path = path_of(term)
    attributes = {"age": "age", "sex": "sex", "insurance": "insurance_or_income", "religion": "religion"}
    return next((attributes[one] for one in path if one in attributes), "none")


def peak_of(snapshot: Mapping[str, Any]) -> int:
    """Where the first passage is strongest."""
    return snapshot["contexts"][0]["peak"]
