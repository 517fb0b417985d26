"""The concepts of the clinic: what a note can mention, in which words, and which numbers count as abnormal.

A concept without a measure is a noun phrase ("chest pain") that a sentence affirms or denies. A concept with a
measure can also be written as a number ("troponin 2.4 ng/mL"), which is evidence for the concept only on the abnormal
side of its threshold.

The thresholds are round numbers that make readable rules. They are not reference ranges of any laboratory.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Literal

Category = Literal[
    "symptom", "sign", "vital", "lab_value", "imaging", "history", "procedure", "drug", "allergy", "demographics"
]
Status = Literal["affirmed", "negated", "normal_value", "other_person"]
Value = bool | float
"""What a note says of a concept: True affirmed, False denied or normal, a number as it was measured."""


@dataclass(frozen=True)
class Measure:
    """How a concept is written as a number."""

    names: tuple[str, ...]
    """What stands before the number."""
    units: tuple[str, ...]
    """What may stand after it; the first is the usual one."""
    threshold: float
    """The border between normal and abnormal."""
    is_high_abnormal: bool
    """True where a value above the threshold is abnormal, False where a value below it is."""
    normal: tuple[float, float]
    """Lowest and highest normal value that is written."""
    abnormal: tuple[float, float]
    """Lowest and highest abnormal value that is written."""
    decimals: int = 0
    """Digits after the decimal point."""

    def is_abnormal(self, value: float) -> bool:
        """Whether the value lies on the abnormal side of the threshold."""
        return value > self.threshold if self.is_high_abnormal else value < self.threshold

    def write(self, name: str, value: float, unit: str) -> str:
        """The measurement as text, such as `troponin 2.4 ng/mL`; without a name the number comes first."""
        return f"{name} {value:.{self.decimals}f}{unit}".lstrip()

    def describe(self) -> str:
        """The abnormal side as text, such as `troponin > 0.4 ng/mL`."""
        return f"{self.names[0]} {'>' if self.is_high_abnormal else '<'} {self.threshold:g}{self.units[0]}".lstrip()

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Matches a whole written measurement; group 1 is the number."""
        names = "|".join(re.escape(name) + " " for name in self.names if name)
        units = "|".join(re.escape(unit) for unit in self.units)
        return re.compile(rf"(?:{names})(\d+(?:\.\d+)?)(?:{units})", re.IGNORECASE)


@dataclass(frozen=True)
class Concept:
    """One clinical meaning with all the ways in which a note writes it."""

    name: str
    """snake_case, unique."""
    category: Category
    """The kind of thing it is."""
    forms: tuple[str, ...]
    """Noun phrases that mean it."""
    normal_forms: tuple[str, ...] = ()
    """Phrases for the opposite, one for each entry of `forms`; empty where "no …" is said instead."""
    measure: Measure | None = None
    """How it is written as a number, if it can be."""

    def is_present(self, value: Value) -> bool:
        """Whether a patient with this value has the concept."""
        if isinstance(value, bool):
            return value
        if self.measure is None:
            raise ValueError(f"{self.name} is not measured, but its value is the number {value:g}. Give True or False.")
        return self.measure.is_abnormal(value)

    def value_of(self, text: str) -> Value | None:
        """Reads a mention back: True or False for a phrase, a number for a measurement, None for anything else.

        A negation outside the mention ("no fever") is not part of it: `fever` alone reads as True.
        """
        folded = text.casefold()
        if any(folded == form.casefold() for form in self.forms):
            return True
        if any(folded == form.casefold() for form in self.normal_forms):
            return False
        match = self.measure.pattern.fullmatch(text) if self.measure else None
        return float(match.group(1)) if match else None

    def describe(self) -> str:
        """The concept in words for tables, with its threshold if it has one."""
        words = self.name.replace("_", " ")
        return f"{words} ({self.measure.describe()})" if self.measure else words


def _lab(name: str, noun: str, high: bool, measure: Measure) -> Concept:
    """A laboratory value: measured, or said in words on either side of its threshold."""
    words = ("elevated", "raised") if high else ("low", "reduced")
    return Concept(
        name,
        "lab_value",
        tuple(f"{word} {noun}" for word in words),
        (f"normal {noun}", f"unremarkable {noun}"),
        measure,
    )


def _plain(category: Category, rows: Mapping[str, str]) -> list[Concept]:
    """Concepts without a measure from `name → "form | form"`."""
    return [Concept(name, category, tuple(form.strip() for form in forms.split("|"))) for name, forms in rows.items()]


_SYMPTOMS = _plain(
    "symptom",
    {
        "chest_pain": "chest pain | chest tightness | CP",
        "dyspnoea": "shortness of breath | dyspnoea | SOB",
        "cough": "cough | productive cough",
        "headache": "headache | head pain | HA",
        "photophobia": "photophobia | light sensitivity",
        "abdominal_pain": "abdominal pain | belly pain | abd pain",
        "vomiting": "vomiting | emesis",
        "diarrhoea": "diarrhoea | loose stools",
        "dysuria": "dysuria | painful urination | burning on urination",
        "flank_pain": "flank pain | loin pain",
        "heartburn": "heartburn | acid regurgitation",
        "palpitations": "palpitations | racing heart",
        "fatigue": "fatigue | tiredness",
        "weight_loss": "weight loss | loss of weight",
        "dizziness": "dizziness | lightheadedness",
        "back_pain": "back pain | lumbar pain",
    },
)
_SIGNS = _plain(
    "sign",
    {
        "wheeze": "wheeze | wheezing | expiratory wheeze",
        "crackles": "crackles | rales",
        "leg_swelling": "leg swelling | ankle oedema | calf swelling",
        "neck_stiffness": "neck stiffness | stiff neck | nuchal rigidity",
        "rebound_tenderness": "rebound tenderness | peritonism | RLQ tenderness",
        "jaundice": "jaundice | icterus",
        "rash": "rash | skin eruption",
        "heart_murmur": "heart murmur | systolic murmur",
    },
)
_VITALS = [
    Concept("fever", "vital", ("fever", "pyrexia"), (),
            Measure(("T", "temp"), (" C", ""), 38.0, True, (36.2, 37.6), (38.3, 40.4), 1)),
    Concept("tachycardia", "vital", ("tachycardia", "fast pulse"), (),
            Measure(("HR", "pulse"), ("",), 100, True, (58, 96), (104, 148))),
    Concept("hypotension", "vital", ("hypotension", "low blood pressure"), (),
            Measure(("SBP", "systolic BP"), (" mmHg", ""), 90, False, (104, 158), (68, 88))),
    Concept("hypoxia", "vital", ("hypoxia", "low oxygen saturation"), (),
            Measure(("SpO2", "sats"), ("%", ""), 92, False, (94, 99), (78, 90))),
]  # fmt: skip
_LABS = [
    _lab("raised_troponin", "troponin", True,
         Measure(("troponin", "trop"), (" ng/mL", ""), 0.4, True, (0.1, 0.3), (0.6, 9.8), 1)),
    _lab("raised_d_dimer", "D-dimer", True, Measure(("D-dimer",), (" ng/mL", ""), 500, True, (110, 480), (520, 980))),
    _lab("raised_bnp", "BNP", True, Measure(("BNP",), (" pg/mL", ""), 400, True, (110, 380), (420, 980))),
    _lab("raised_lipase", "lipase", True, Measure(("lipase",), (" U/L", ""), 300, True, (110, 280), (320, 980))),
    _lab("high_glucose", "glucose", True,
         Measure(("glucose", "BG"), (" mg/dL", ""), 300, True, (110, 280), (320, 680))),
    _lab("raised_white_cells", "white cells", True,
         Measure(("WBC", "white cells"), ("",), 11, True, (4.2, 9.8), (12.1, 24.0), 1)),
    _lab("raised_creatinine", "creatinine", True,
         Measure(("creatinine", "Cr"), (" mg/dL", ""), 1.4, True, (0.6, 1.2), (1.6, 5.8), 1)),
    _lab("low_haemoglobin", "haemoglobin", False,
         Measure(("haemoglobin", "Hb"), (" g/dL", ""), 10, False, (12.1, 16.4), (6.2, 9.4), 1)),
    _lab("low_sodium", "sodium", False, Measure(("sodium", "Na"), (" mmol/L", ""), 130, False, (134, 145), (112, 128))),
    Concept("ketones", "lab_value", ("positive ketones", "raised ketones"), ("negative ketones", "normal ketones")),
]  # fmt: skip
_IMAGING = _plain(
    "imaging",
    {
        "consolidation": "consolidation | infiltrate | airspace opacity",
        "pleural_effusion": "pleural effusion | effusion",
        "gallstones": "gallstones | cholelithiasis",
        "hydronephrosis": "hydronephrosis | dilated renal pelvis",
    },
)
_BACKGROUND = [
    *_plain(
        "history",
        {
            "smoking": "smoking | tobacco use | cigarette use",
            "diabetes": "diabetes | DM",
            "hypertension": "hypertension | HTN | high blood pressure",
            "kidney_disease": "chronic kidney disease | CKD",
            "alcohol_use": "alcohol use | heavy drinking",
            "atrial_fibrillation": "atrial fibrillation | AF",
        },
    ),
    *_plain(
        "procedure",
        {
            "appendectomy": "appendectomy | appendicectomy | appendix removal",
            "coronary_stent": "coronary stent | PCI",
            "hip_replacement": "hip replacement | hip arthroplasty",
            "colonoscopy": "colonoscopy | bowel endoscopy",
        },
    ),
    *_plain(
        "drug",
        {
            "aspirin": "aspirin | ASA",
            "metformin": "metformin",
            "insulin": "insulin | insulin glargine",
            "lisinopril": "lisinopril | ACE inhibitor",
            "warfarin": "warfarin | coumadin",
            "atorvastatin": "atorvastatin | statin",
            "salbutamol": "salbutamol | albuterol",
            "ibuprofen": "ibuprofen | NSAID",
        },
    ),
    *_plain(
        "allergy",
        {"penicillin_allergy": "penicillin | PCN", "sulfa_allergy": "sulfa | sulfonamides", "latex_allergy": "latex"},
    ),
]
_DEMOGRAPHICS = [
    Concept("older_adult", "demographics", ("elderly",), (),
            Measure(("",), ("-year-old", " yo", " y/o"), 65, True, (19, 63), (67, 92))),
    *_plain(
        "demographics",
        {
            "female": "woman | female | F",
            "male": "man | male | M",
            "private_insurance": "private insurance | privately insured",
            "medicaid": "Medicaid | Medicaid insurance",
            "uninsured": "uninsured | self-pay",
        },
    ),
]  # fmt: skip

CONCEPTS: Mapping[str, Concept] = MappingProxyType(
    {c.name: c for c in (*_SYMPTOMS, *_SIGNS, *_VITALS, *_LABS, *_IMAGING, *_BACKGROUND, *_DEMOGRAPHICS)}
)
"""Every concept by name, in a fixed order."""

INSURANCES = ("private_insurance", "medicaid", "uninsured")
"""The demographic groups of which one may be protected when a bias is planted."""

__all__ = ["CONCEPTS", "INSURANCES", "Category", "Concept", "Measure", "Status", "Value"]
