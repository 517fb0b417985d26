"""The clinic's rules and concepts as Markdown tables, for the documentation.

python -m clinlens.clinic.tables
"""

from clinlens.clinic.concepts import CONCEPTS
from clinlens.clinic.diagnoses import DIAGNOSES


def diagnosis_table() -> str:
    """Every diagnosis with its rule, in order of precedence."""
    rows = [
        f"| {order} | {diagnosis.name} | {diagnosis.describe()} |"
        for order, diagnosis in enumerate(DIAGNOSES.values(), start=1)
    ]
    return "\n".join(["| order | diagnosis | rule |", "|---|---|---|", *rows])


def concept_table() -> str:
    """The concepts of every category, with how many there are."""
    categories: dict[str, list[str]] = {}
    for concept in CONCEPTS.values():
        categories.setdefault(concept.category, []).append(concept.name.replace("_", " "))
    rows = [f"| {category} | {len(names)} | {', '.join(names)} |" for category, names in categories.items()]
    return "\n".join(["| category | concepts | which |", "|---|---|---|", *rows])


def main() -> int:
    """Prints both tables."""
    print(diagnosis_table(), concept_table(), sep="\n\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
