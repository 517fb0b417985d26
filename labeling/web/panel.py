"""The evidence on a feature as it is shown: contexts in their order, tokens with their shading, figures.

What names the feature is left out, since its number would lead a rater to labels that others gave it elsewhere; the row
of the corpus too, since it may lead to a patient.
"""

from dataclasses import dataclass
from typing import Any

LEVELS = 10
"""Steps of shading. The style sheet has one class for each: a style attribute would break the page's policy."""
KINDS = {
    "top": ("Strongest contexts", "Where the feature fires most, each from another window of text."),
    "quantile": ("Across its range", "An equal share from every part of its activations, the strongest part first."),
    "contrast": ("Silent contrasts", "Windows of text in which it does not fire."),
}


@dataclass(frozen=True)
class Token:
    """One token of a context."""

    text: str
    value: float
    """The feature's activation on it; 0 where it is silent."""
    level: int
    """Its shading, 0 to LEVELS."""
    is_peak: bool


@dataclass(frozen=True)
class Window:
    """One context."""

    number: int
    """Its place in the snapshot: what a cited span names."""
    label: str
    """What it is called on the page."""
    tokens: tuple[Token, ...]
    peak: int
    value: float
    """The strongest activation in it."""


@dataclass(frozen=True)
class Group:
    """Contexts of one kind."""

    heading: str
    meaning: str
    windows: tuple[Window, ...]


@dataclass(frozen=True)
class Panel:
    """Everything at the left of the rating form."""

    groups: tuple[Group, ...]
    density: float
    max_activation: float
    model: str
    hook_point: str
    corpus: str
    up: tuple[tuple[str, float], ...]
    """Next tokens it pushes up."""
    down: tuple[tuple[str, float], ...]

    @property
    def figures(self) -> dict[str, Any]:
        """What the pages' modules need to cite tokens: the texts by number of the context."""
        windows = [window for group in self.groups for window in group.windows]
        return {str(window.number): [token.text for token in window.tokens] for window in windows}


def level(value: float, largest: float) -> int:
    """The step of shading of an activation; everything that fires at all is shaded."""
    if value <= 0 or largest <= 0:
        return 0
    return max(1, min(LEVELS, round(LEVELS * value / largest)))


def window(number: int, context: dict[str, Any], largest: float) -> Window:
    """One context of a snapshot's body."""
    is_silent = max(context["acts"], default=0) <= 0
    tokens = tuple(
        Token(text, value, level(value, largest), place == context["peak"] and not is_silent)
        for place, (text, value) in enumerate(zip(context["tokens"], context["acts"], strict=True))
    )
    quantile = context.get("quantile")
    name = f"part {quantile + 1}" if quantile is not None else ""
    return Window(number, f"{number + 1} {name}".strip(), tokens, context["peak"], max(context["acts"], default=0.0))


def panel(snapshot: dict[str, Any]) -> Panel:
    """A snapshot's body as it is shown: the strongest first, then by quantile, silent ones last."""
    numbered = list(enumerate(snapshot["contexts"]))
    groups = []
    for kind, (heading, meaning) in KINDS.items():
        chosen = [(number, context) for number, context in numbered if context["kind"] == kind]
        chosen.sort(key=lambda pair: (pair[1].get("quantile") or 0, pair[0]))
        windows = tuple(window(number, context, snapshot["max_activation"]) for number, context in chosen)
        if windows:
            groups.append(Group(heading, meaning, windows))
    return Panel(
        groups=tuple(groups),
        density=snapshot["density"],
        max_activation=snapshot["max_activation"],
        model=snapshot["sae"]["model"],
        hook_point=snapshot["sae"]["hook_point"],
        corpus=snapshot["corpus"],
        up=tuple((text, value) for text, value in snapshot["top_logits"]),
        down=tuple((text, value) for text, value in snapshot["bottom_logits"]),
    )


def evidence(snapshot: dict[str, Any]) -> dict[str, Any]:
    """The same for programs."""
    kept = ("kind", "quantile", "tokens", "acts", "peak")
    contexts = [{key: context.get(key) for key in kept} for context in snapshot["contexts"]]
    keys = ("density", "max_activation", "corpus", "top_logits", "bottom_logits")
    place = {key: snapshot["sae"][key] for key in ("model", "hook_point")}
    return {**{key: snapshot[key] for key in keys}, **place, "contexts": contexts}
