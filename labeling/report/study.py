"""What only the lead of a study knows: the parts of a report on agreement that no database holds."""

from pathlib import Path

import yaml
from pydantic import Field, ValidationError

from labeling.yaml_text import parsed
from sae.config import Settings
from sae.errors import UserError


class Study(Settings, frozen=True):
    """Words of the lead, each for one item of the reporting guideline; what is not given is asked for on the page."""

    title: str = Field(default="", max_length=300, description="Title that names agreement or reliability.")
    device: str = Field(default="", max_length=4000, description="The measurement: what is rated, by which rubric.")
    subjects: str = Field(default="", max_length=4000, description="What population the rated features stand for.")
    raters: str = Field(default="", max_length=4000, description="What population of raters the panel stands for.")
    background: str = Field(default="", max_length=8000, description="What was known, and why the study was done.")
    sample_size: str = Field(
        default="", max_length=4000, description="How the numbers of items and raters were chosen."
    )
    sampling: str = Field(default="", max_length=4000, description="How items and raters were drawn.")
    process: str = Field(default="", max_length=4000, description="Where, when and with what at hand people rated.")
    training: str = Field(default="", max_length=4000, description="Training and experience of the raters.")
    relevance: str = Field(default="", max_length=8000, description="What the results mean in practice.")
    availability: str = Field(default="", max_length=4000, description="Where detailed results can be had.")


def read_study(path: Path | None) -> Study:
    """The study of a YAML file; an empty one without a file.

    Raises:
        UserError: It is no such file.
    """
    if path is None:
        return Study()
    try:
        found = parsed(path.read_text(encoding="utf-8"))
        return Study.model_validate(found or {})
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}), expected a YAML file. Check the path.") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise UserError(f"{path} is no YAML, expected lines such as `background: …`. Correct it.") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        known = ", ".join(Study.model_fields)
        raise UserError(
            f"{path}: {place} is not as expected, expected texts under some of {known}. Correct it."
        ) from None
