"""Settings of a sweep, in the schema of a W&B sweep file: the same file works with `wandb sweep`."""

from typing import Any, Literal

from pydantic import Field, PositiveInt, model_validator

from sae.config import Settings

Distribution = Literal[
    "constant", "categorical", "int_uniform", "uniform", "q_uniform", "log_uniform", "q_log_uniform",
    "log_uniform_values", "q_log_uniform_values", "inv_log_uniform", "inv_log_uniform_values", "normal", "q_normal",
    "log_normal", "q_log_normal", "beta", "q_beta",
]  # fmt: skip


class ParameterConfig(Settings, frozen=True):
    """The values that one setting may take."""

    value: Any = Field(default=None, description="The only value.")
    values: tuple[Any, ...] | None = Field(default=None, min_length=1, description="The values there are.")
    probabilities: tuple[float, ...] | None = Field(
        default=None, description="How often each of `values` is drawn, where the method is random."
    )
    distribution: Distribution | None = Field(
        default=None, description="How values are drawn; from the other keys if unset, as W&B does."
    )
    min: float | int | None = Field(default=None, description="Smallest value, or its exponent in `log_uniform`.")
    max: float | int | None = Field(default=None, description="Largest value, or its exponent in `log_uniform`.")
    mu: float | None = Field(default=None, description="Mean of `normal`, or of the logarithm in `log_normal`.")
    sigma: float | None = Field(default=None, description="Standard deviation likewise.")
    q: float | None = Field(
        default=None, description="Step that drawn values are rounded to, in the `q_` distributions."
    )
    a: float | None = Field(default=None, description="First shape of `beta`.")
    b: float | None = Field(default=None, description="Second shape of `beta`.")
    parameters: "dict[str, ParameterConfig] | None" = Field(
        default=None, description="Settings inside this one; `sae: {parameters: {k: …}}` is `sae.k`."
    )

    @model_validator(mode="after")
    def is_told_how_to_draw(self) -> "ParameterConfig":
        """One way to get a value, and its numbers."""
        if self.parameters is None:
            missing = [key for key in NEEDS[self.kind] if key not in self.model_fields_set]
            if missing:
                raise ValueError(
                    f"a parameter of distribution {self.kind} lacks {missing[0]}, expected {', '.join(NEEDS[self.kind])}"
                )
            if self.probabilities is not None and len(self.probabilities) != len(self.values or ()):
                raise ValueError("probabilities and values differ in length, expected one probability for each value")
        return self

    @property
    def kind(self) -> Distribution:
        """The distribution, as W&B infers it where it is not named."""
        if self.distribution is not None:
            return self.distribution
        if self.values is not None:
            return "categorical"
        if self.min is not None and self.max is not None:
            return "int_uniform" if isinstance(self.min, int) and isinstance(self.max, int) else "uniform"
        return "normal" if self.mu is not None else "constant"


NEEDS: dict[str, tuple[str, ...]] = {
    "constant": ("value",), "categorical": ("values",), "int_uniform": ("min", "max"), "uniform": ("min", "max"),
    "q_uniform": ("min", "max"), "log_uniform": ("min", "max"), "q_log_uniform": ("min", "max"),
    "log_uniform_values": ("min", "max"), "q_log_uniform_values": ("min", "max"), "inv_log_uniform": ("min", "max"),
    "inv_log_uniform_values": ("min", "max"), "normal": ("mu", "sigma"), "q_normal": ("mu", "sigma"),
    "log_normal": ("mu", "sigma"), "q_log_normal": ("mu", "sigma"), "beta": ("a", "b"), "q_beta": ("a", "b"),
}  # fmt: skip


class MetricConfig(Settings, frozen=True):
    """What decides between trials."""

    name: str = Field(
        description="A figure of evaluation.json (`explained_variance`, `ce_loss_score`, …) or of the log."
    )
    goal: Literal["minimize", "maximize"] = Field(default="minimize", description="W&B's default is minimize.")
    target: float | None = Field(default=None, description="Value worth reaching; shown, never acted on.")


class EarlyTerminateConfig(Settings, frozen=True):
    """Stopping trials that stand badly at given moments."""

    type: Literal["hyperband"] = Field(default="hyperband", description="Successive halving.")
    min_iter: PositiveInt | None = Field(default=None, description="Logged steps until the first look.")
    max_iter: PositiveInt | None = Field(default=None, description="Logged steps until the last look, with `s`.")
    s: PositiveInt | None = Field(default=None, description="Number of looks, counted back from `max_iter`.")
    eta: float = Field(default=3.0, gt=1, description="At each look, one in `eta` goes on.")
    strict: bool = Field(default=False, description="W&B's key; here every look is strict, since trials wait for it.")

    @model_validator(mode="after")
    def has_looks(self) -> "EarlyTerminateConfig":
        """Either from the first look on, or back from the last."""
        if self.min_iter is None and (self.max_iter is None or self.s is None):
            raise ValueError("early_terminate has neither min_iter nor max_iter with s, expected one of them")
        return self

    def looks(self, n_rows: int) -> list[int]:
        """Logged steps after which trials are compared, of `n_rows` in all. Source: W&B's documentation of hyperband."""
        if self.min_iter is not None:
            found, look = [], float(self.min_iter)
            while round(look) < n_rows:
                found.append(round(look))
                look *= self.eta
            return found
        last, s = self.max_iter or 0, self.s or 0
        return [look for i in range(s, 0, -1) if 0 < (look := round(last / self.eta**i)) < n_rows]


class SweepConfig(Settings, frozen=True):
    """A sweep: which settings take which values."""

    program: str | None = Field(default=None, description="The run config that every trial starts from.")
    command: tuple[str, ...] | None = Field(
        default=None,
        description='What `wandb agent` runs for each trial: [clinlens, trial, "${program}", "${args_json}"].',
    )
    method: Literal["grid", "random", "bayes"] = Field(
        description="Every combination, draws, or draws led by the metric; the last without `early_terminate`."
    )
    metric: MetricConfig | None = Field(default=None, description="What decides between trials.")
    parameters: dict[str, ParameterConfig] = Field(
        min_length=1, description="Setting → its values. `training.hook_points` makes the layer one of them."
    )
    early_terminate: EarlyTerminateConfig | None = Field(
        default=None,
        description="Stop what stands badly, compared with the other trials at the same hook point; off if unset.",
    )
    run_cap: PositiveInt | None = Field(default=None, description="Trials at most; needed for random and bayes.")
    name: str | None = Field(default=None, description="Name of the sweep.")
    description: str | None = Field(default=None, description="What it is for.")
    project: str | None = Field(default=None, description="W&B project, before tracking.project.")
    entity: str | None = Field(default=None, description="W&B team, where the sweep is run online.")

    @model_validator(mode="after")
    def can_end(self) -> "SweepConfig":
        """Draws need a number, and decisions a metric; what is stopped early has no figure to lead draws by."""
        if self.method != "grid" and self.run_cap is None:
            raise ValueError(f"a sweep of method {self.method} has no run_cap, expected the number of trials")
        if self.metric is None and (self.method == "bayes" or self.early_terminate is not None):
            what = "method bayes" if self.method == "bayes" else "early_terminate"
            raise ValueError(f"a sweep with {what} has no metric, expected metric: {{name, goal}}")
        if self.method == "bayes" and self.early_terminate is not None:
            raise ValueError(
                "a sweep of method bayes has early_terminate, expected one of the two, since bayes runs too few trials at a "
                "time to compare and learns from held-out figures, which stopped trials lack; leave out early_terminate, or "
                "use method: random"
            )
        return self

    @property
    def flat(self) -> dict[str, ParameterConfig]:
        """Parameters by dotted name."""
        return flattened(self.parameters)


def flattened(parameters: dict[str, ParameterConfig], prefix: str = "") -> dict[str, ParameterConfig]:
    """Nested parameters by dotted name."""
    found: dict[str, ParameterConfig] = {}
    for key, parameter in parameters.items():
        if parameter.parameters is None:
            found[prefix + key] = parameter
        else:
            found |= flattened(parameter.parameters, f"{prefix}{key}.")
    return found
