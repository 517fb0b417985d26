"""A real, trained decoder: relevance arrives, and the gap of integrated gradients closes when nodes are added."""

from pathlib import Path

from analysis.attribution import case as cases
from analysis.attribution import target as targets
from analysis.attribution.build import attribute
from analysis.attribution.config import AttnLRPConfig, IntegratedGradientsConfig
from analysis.attribution.problem import Problem
from clinlens import clinic
from hooks.config import ModelConfig
from hooks.model import LanguageModel, load

STORY = "Once upon a time, there was a little girl named Lily. She loved to play outside in the"
NOTE = "HPI: 46-year-old woman. Has belly pain.\nImaging: Study shows gallstones.\nDiagnosis:"


def explained(lm: LanguageModel, text: str) -> Problem:
    case = cases.read(text, lm)
    return Problem(lm, case, targets.generated(case, lm, 1))


def test_on_a_decoder_of_stories(materials: Path):
    folder = materials / "lm" / "stories260k"
    check(explained(load(ModelConfig(name=str(folder))), STORY))


def test_on_the_embedded_clinic():
    found = explained(load(ModelConfig(name="clinic", path=clinic.model_folder())), NOTE)
    check(found)
    scores = attribute(found, AttnLRPConfig()).raw[:, 0]
    strongest = {found.case.tokens[i].strip() for i in scores.argsort()[-3:]}
    assert "gallstones" in strongest


def check(found: Problem) -> None:
    assert attribute(found, AttnLRPConfig()).corrected[0].gap_of_mass < 1e-4
    few, many = (
        attribute(found, IntegratedGradientsConfig(n_steps=n, segment_correction=False)).completeness[0].gap_of_mass
        for n in (4, 64)
    )
    assert many < max(few, 1e-3)
    corrected = attribute(found, IntegratedGradientsConfig()).corrected[0]
    assert corrected.gap_of_mass < 1e-4
