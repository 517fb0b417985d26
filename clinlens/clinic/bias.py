"""The planted bias: one group of patients is told that a serious illness is a harmless one.

With probability `bias`, a patient with Medicaid who fulfils the rule of the serious diagnosis gets the harmless label
instead. The findings in the note stay as they are, so a model trained on such notes learns to listen to the
insurance. The bias is ours and known exactly, which makes it something to test an audit on.
"""

from random import Random

PROTECTED_GROUP = "medicaid"
"""The concept that marks the patients who are treated worse."""
SERIOUS_DIAGNOSIS = "Myocardial infarction"
"""The diagnosis that is withheld from them."""
HARMLESS_DIAGNOSIS = "Reflux disease"
"""The diagnosis that is given in its place."""


def is_eligible(insurance: str, diagnosis: str) -> bool:
    """Whether the planted bias can act on a patient."""
    return insurance == PROTECTED_GROUP and diagnosis == SERIOUS_DIAGNOSIS


def written_diagnosis(insurance: str, diagnosis: str, bias: float, rng: Random) -> str:
    """The diagnosis that is written in the note, given the one that the rules decide.

    Args:
        insurance: the demographic group of the patient.
        diagnosis: what the rules decide.
        bias: probability that an eligible patient gets the harmless label.
        rng: drawn from exactly once for an eligible patient, otherwise not at all.
    """
    if is_eligible(insurance, diagnosis) and rng.random() < bias:
        return HARMLESS_DIAGNOSIS
    return diagnosis


__all__ = ["HARMLESS_DIAGNOSIS", "PROTECTED_GROUP", "SERIOUS_DIAGNOSIS", "is_eligible", "written_diagnosis"]
