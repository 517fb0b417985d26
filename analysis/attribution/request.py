"""The problem that a request makes of a text."""

from collections.abc import Callable, Sequence

from analysis.attribution import target as targets
from analysis.attribution.case import Case
from analysis.attribution.classifier import with_head
from analysis.attribution.problem import Problem
from analysis.attribution.target import Target
from analysis.attribution.target_request import TargetRequest
from hooks.model import LanguageModel
from sae.base import SAE
from sae.errors import UserError

OpenSAE = Callable[[str], SAE]
"""From a hook point to the autoencoder to take there."""


def problem_of(
    case: Case, lm: LanguageModel, request: TargetRequest, open_sae: OpenSAE, fixed: Sequence[int] = ()
) -> Problem:
    """The problem that a request makes of a case.

    Raises:
        UserError: The request names nothing, or several things, or what the model has not.
    """
    refuse_unclear(request)
    if request.class_name is not None:
        lm = with_head(lm)
    if not request.features:
        return Problem(lm, case, target_of(case, lm, request), fixed=fixed)
    hook_point, numbers = feature_numbers(request)
    sae = open_sae(hook_point)
    target = targets.features_of(
        case, lm, sae, hook_point, numbers, position=request.position, is_total=len(numbers) > 1
    )
    return Problem(lm, case, target, sae, fixed=fixed)


def feature_numbers(request: TargetRequest) -> tuple[str, list[int]]:
    """The hook point of the features asked about, and their numbers.

    Raises:
        UserError: They are not written as HOOK/INDEX, or not all at one hook point.
    """
    hook_points = {feature.rpartition("/")[0] for feature in request.features}
    indices = [feature.rpartition("/")[2] for feature in request.features]
    if len(hook_points) != 1 or "" in hook_points or not all(index.isdecimal() for index in indices):
        raise UserError(
            f"--feature is {', '.join(request.features)}, expected HOOK/INDEX such as blocks.3.hook_resid_post/1234, all at one "
            "hook point. Correct it."
        )
    return hook_points.pop(), list(map(int, indices))


def names_answer(request: TargetRequest) -> bool:
    """Whether the request names an answer, and not only features."""
    return any(one is not None for one in (request.target, request.continuation, request.generate, request.class_name))


def target_of(case: Case, lm: LanguageModel, request: TargetRequest) -> Target:
    """The target of a request without features."""
    if request.class_name is not None:
        return targets.class_of(lm.model, request.class_name, contrast=request.contrast, measure=request.measure)
    if request.generate is not None:
        return targets.generated(case, lm, request.generate, measure=request.measure, is_total=request.total)
    if request.continuation is not None:
        return targets.continuation(
            case, lm, request.continuation, contrast=request.contrast, measure=request.measure, is_total=request.total
        )
    assert request.target is not None  # noqa: S101 - refuse_unclear asked for one
    return targets.next_token(case, lm, request.target, contrast=request.contrast, measure=request.measure)


def refuse_unclear(request: TargetRequest) -> None:
    """Stops a request that does not name one answer, features, or both."""
    answers = {
        "--target": request.target, "--continuation": request.continuation, "--generate": request.generate,
        "--class": request.class_name,
    }  # fmt: skip
    given = [name for name, value in answers.items() if value is not None]
    if len(given) > 1 or not (given or request.features):
        raise UserError(
            f"The request names {' and '.join(given) or 'nothing'} to explain, expected one of {', '.join(answers)}, or "
            "--feature. Give one."
        )
    if request.position is not None and not request.features:
        raise UserError(
            "A position was given without a feature, expected --feature beside it. Add it, or leave --position out."
        )
    if request.contrast is not None and given not in (["--target"], ["--continuation"], ["--class"]):
        raise UserError(
            f"A contrast was given for {given[0] if given else '--feature'}, expected a target, continuation or class. "
            "Leave one out."
        )
