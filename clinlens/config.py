"""The config of a whole run: its sections, reading it from YAML, overriding it, and saying what is wrong with it."""

import difflib
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from analysis.config import ConceptsConfig, ExamplesConfig
from analysis.faithfulness.config import FaithfulnessConfig
from clinlens.clinic.notes import ClinicConfig
from clinlens.report.config import ReportConfig
from clinlens.sweep.config import SweepConfig
from hooks.config import CaptureConfig, CorpusConfig, ModelConfig, ScreeningConfig
from sae import artefact
from sae.config import JumpReLUConfig, L1Config, SAEConfig, Settings, TopKConfig
from sae.errors import UserError
from training.choice import ChoiceConfig
from training.config import CostConfig, EngineConfig, EvaluationConfig, FinetuningConfig, TrackingConfig, TrainingConfig

ARCHITECTURES: dict[str, type[BaseModel]] = {
    cfg.model_fields["architecture"].default: cfg for cfg in get_args(get_args(SAEConfig)[0])
}
FILE = "config.yaml"


class RunConfig(Settings, frozen=True):
    """Everything a run is made from."""

    folder: Path = Field(description="Where everything of the run lives.")
    seed: int = Field(
        default=0, ge=0, description="Seed of the split, the shuffles, the initial weights and the samples."
    )
    model: ModelConfig = Field(default=ModelConfig(), description="The language model.")
    corpus: CorpusConfig = Field(default=CorpusConfig(), description="The texts.")
    screening: ScreeningConfig = Field(
        default=ScreeningConfig(), description="The search for what could name a patient."
    )
    clinic: ClinicConfig = Field(default=ClinicConfig(), description="The notes, where the corpus is `clinic`.")
    capture: CaptureConfig = Field(default=CaptureConfig(), description="The activations.")
    sae: tuple[SAEConfig, ...] = Field(
        default=(TopKConfig(), JumpReLUConfig(), L1Config()),
        min_length=1,
        description="One SAE of each at every hook point.",
    )
    training: TrainingConfig = Field(default=TrainingConfig(), description="How they are fitted.")
    finetuning: FinetuningConfig = Field(
        default=FinetuningConfig(), description="How `clinlens finetune` trains an SAE on the model's answers."
    )
    evaluation: EvaluationConfig = Field(default=EvaluationConfig(), description="What is measured.")
    examples: ExamplesConfig = Field(default=ExamplesConfig(), description="Contexts kept for each feature.")
    concepts: ConceptsConfig = Field(
        default=ConceptsConfig(), description="Concept recovery, where the corpus has spans."
    )
    faithfulness: FaithfulnessConfig = Field(
        default=FaithfulnessConfig(), description="How attribution methods are judged."
    )
    choice: ChoiceConfig = Field(default=ChoiceConfig(), description="Which SAE is recommended at each hook point.")
    report: ReportConfig = Field(default=ReportConfig(), description="What report.html shows.")
    tracking: TrackingConfig = Field(default=TrackingConfig(), description="Logging.")
    engine: EngineConfig = Field(default=EngineConfig(), description="How the work is spread.")
    cost: CostConfig = Field(default=CostConfig(), description="Factors of the energy and cost estimate.")
    sweep: SweepConfig | None = Field(
        default=None, description="Many SAEs, in the schema of a W&B sweep file, for `clinlens sweep`."
    )

    @field_validator("sae", mode="before")
    @classmethod
    def one_is_a_list(cls, value: Any) -> Any:
        """A single SAE may be written without a list."""
        return [value] if isinstance(value, dict) else value

    @model_validator(mode="after")
    def are_distinct(self) -> "RunConfig":
        """The same SAE twice is a mistake."""
        if len(set(map(repr, self.sae))) < len(self.sae):
            raise ValueError("sae lists the same settings twice, expected different ones")
        return self

    @model_validator(mode="after")
    def shows_only_what_may_be_shown(self) -> "RunConfig":
        """Texts go to W&B only where both are said: that they may, and that they shall."""
        if self.tracking.examples and not self.corpus.shareable:
            raise ValueError(
                "tracking.examples is true but corpus.shareable is false, expected a corpus that is declared to be one "
                "whose texts may leave this machine"
            )
        return self


def read(path: Path, overrides: tuple[str, ...] = ()) -> RunConfig:
    """The config in a YAML file, or in a run folder.

    Args:
        path: The file, or a run folder, which holds the config it was made with.
        overrides: `section.key=value`, the value as YAML.

    Raises:
        UserError: The file is not to be had, or something in it is wrong.
    """
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise UserError(
            f"{file} does not exist, expected a run config. Name a YAML file, e.g. configs/quickstart.yaml, or a run folder."
        )
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}" if mark else ""
        raise UserError(f"{file} is no YAML{place}, expected `key: value` lines. Correct it there.") from error
    if not isinstance(values, dict):
        raise UserError(
            f"{file} holds {type(values).__name__}, expected sections such as `model:`. Begin from configs/quickstart.yaml."
        )
    if path.is_dir():
        values["folder"] = str(path)  # wherever it lies now
    for override in overrides:
        apply(override, values)
    return validated(values, str(file))


def validated(values: dict[str, Any], source: str) -> RunConfig:
    """A config from plain values.

    Raises:
        UserError: One sentence on the first thing that is wrong.
    """
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        places = [detail["loc"] for detail in error.errors()]
        details = [detail for detail in error.errors() if not follows_from(detail["loc"], places)]
        more = f" ({len(details) - 1} more after it)" if len(details) > 1 else ""
        raise UserError(f"{source}{more}: {sentence(details[0])}") from None


def follows_from(place: tuple[int | str, ...], places: list[tuple[int | str, ...]]) -> bool:
    """Whether a mistake is only that something inside it is one: a list without its wrong entry is too short."""
    return any(len(other) > len(place) and other[: len(place)] == place for other in places)


def sentence(detail: ErrorDetails) -> str:
    """What was found, what was expected, what to do."""
    place = [part for part in detail["loc"] if part not in ARCHITECTURES]
    key = ".".join(str(part) for part in place)
    if detail["type"] == "extra_forbidden":
        known = sorted(section_at(detail["loc"][:-1]).model_fields)
        near = difflib.get_close_matches(str(place[-1]), known, n=1)
        hint = f"did you mean {near[0]!r}" if near else f"expected one of {', '.join(known)}"
        return f"{key} is no setting, {hint}. Correct or remove it."
    if detail["type"] == "missing":
        return f"{key} is not set, expected a value. Add it."
    if detail["type"] in ("union_tag_invalid", "union_tag_not_found"):
        found = detail["input"].get("architecture") if isinstance(detail["input"], dict) else detail["input"]
        return f"{key}.architecture is {found!r}, expected one of {', '.join(ARCHITECTURES)}. Correct it."
    if detail["type"] == "too_short":
        return f"{key} is empty, expected at least one entry. Add one."
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Input should be ").rstrip(".")
    if detail["type"] == "value_error":
        return f"{message}. Correct it."
    return f"{key} is {detail['input']!r}, expected {message}. Correct it."


def section_at(place: tuple[int | str, ...]) -> type[BaseModel]:
    """The settings class at a place in the config."""
    section: type[BaseModel] = RunConfig
    for part in place:
        if part in ARCHITECTURES:
            section = ARCHITECTURES[str(part)]
        elif part in section.model_fields:
            annotation = section.model_fields[str(part)].annotation
            options = [annotation, *get_args(annotation)]
            section = next((a for a in options if isinstance(a, type) and issubclass(a, BaseModel)), section)
    return section


def apply(override: str, values: dict[str, Any]) -> None:
    """Puts `section.key=value` into plain values; `sae.key` into every SAE whose architecture has that key.

    Raises:
        UserError: It has no `=`, leads through something that is no section, or no SAE has the key.
    """
    path, equals, text = override.partition("=")
    if not equals:
        raise UserError(f"--set {override} has no `=`, expected section.key=value. Write it so.")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    put(path, value, values, f"--set {override}")


def put(path: str, value: Any, values: dict[str, Any], said: str) -> None:
    """Puts a value at `section.key` into plain values.

    Args:
        path: Where; `sae.key` means every SAE whose architecture has that key.
        value: What.
        values: Sections of a config.
        said: What the user wrote, for errors.

    Raises:
        UserError: The path leads through something that is no section, or no SAE has the key.
    """
    *sections, key = path.split(".")
    if sections == ["sae"]:
        apply_to_saes(key, value, values, said)
        return
    place: Any = values
    for section in sections:
        if isinstance(place, list):
            place = place[int(section)] if section.isdigit() and int(section) < len(place) else None
        elif isinstance(place, dict) and not section.isdigit():
            place = place.setdefault(section, {})
        else:
            place = None
        if not isinstance(place, dict | list):
            raise UserError(f"{said}: {section!r} is no section, expected section.key=value. Correct the path.")
    if not isinstance(place, dict):
        raise UserError(f"{said}: {key!r} stands in a list, expected section.key=value. Correct the path.")
    place[key] = value


def apply_to_saes(key: str, value: Any, values: dict[str, Any], said: str) -> None:
    """Sets a key of every SAE that can have it."""
    saes = values.get("sae", [{"architecture": name} for name in ("topk", "jumprelu", "l1")])
    values["sae"] = saes = [saes] if isinstance(saes, dict) else saes
    if not isinstance(saes, list) or not all(isinstance(sae, dict) for sae in saes):
        raise UserError(f"{said}: `sae:` is {saes!r}, expected a list of settings. Correct it first.")
    having = [sae for sae in saes if key in ARCHITECTURES.get(str(sae.get("architecture")), RunConfig).model_fields]
    if not having:
        raise UserError(
            f"{said}: none of the SAEs under `sae:` has {key!r}, expected a setting of one of them. Correct the key."
        )
    for sae in having:
        sae[key] = value


def write(cfg: RunConfig, folder: Path) -> None:
    """Writes the config as used, defaults included, into the run folder."""
    text = yaml.safe_dump(cfg.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    path = folder / FILE
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        artefact.write_text(path, text)
