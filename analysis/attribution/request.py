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
    hook_points = {feature.rpartition("/")[0] for feature in request.features}
    indices = [feature.rpartition("/")[2] for feature in request.features]
    if len(hook_points) != 1 or "" in hook_points or not all(index.isdecimal() for index in indices):
        raise UserError(
            f"--feature is {', '.join(request.features)}, expected HOOK/INDEX such as blocks.3.hook_resid_post/1234, all at one "
            "hook point. Correct it."
        )
    hook_point = hook_points.pop()
    sae = open_sae(hook_point)
    target = targets.features_of(
        case, lm, sae, hook_point, list(map(int, indices)), position=request.position, is_total=len(indices) > 1
    )
    return Problem(lm, case, target, sae, fixed=fixed)


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
    """Stops a request that does not name one thing."""
    named = {
        "--target": request.target, "--continuation": request.continuation, "--generate": request.generate,
        "--class": request.class_name, "--feature": request.features or None,
    }  # fmt: skip
    given = [name for name, value in named.items() if value is not None]
    if len(given) != 1:
        raise UserError(
            f"The request names {' and '.join(given) or 'nothing'} to explain, expected one of {', '.join(named)}. Give one."
        )
    if request.contrast is not None and given[0] in ("--generate", "--feature"):
        raise UserError(
            f"A contrast was given for {given[0]}, expected a target, continuation or class. Leave one out."
        )
