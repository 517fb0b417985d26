"""How the desk works: how many processes, how much memory, how patient."""

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from sae.config import Settings


class DeskConfig(Settings, frozen=True):
    """Everything that decides how jobs are carried out, and nothing that decides their results."""

    n_workers: PositiveInt = Field(default=1, description="Processes that compute at once, at most.")
    threads: PositiveInt = Field(default=1, description="Threads of each.")
    idle_s: PositiveFloat = Field(default=300.0, description="After so long without work a process ends.")
    silent_s: PositiveFloat = Field(
        default=60.0, description="A process without a sign of life for so long is taken for dead."
    )
    cancel_s: PositiveFloat = Field(
        default=3.0, description="Time that a process has to leave a cancelled task by itself."
    )
    max_deaths: PositiveInt = Field(default=2, description="Processes that may die over a task before it has failed.")
    model_cache_mib: PositiveInt = Field(
        default=8192,
        description="Weights of the models that one process keeps loaded; those used longest ago go first.",
    )
    memory_mib: NonNegativeInt = Field(
        default=0, description="Memory that one process may have, by RLIMIT_DATA; 0 sets no limit."
    )
    max_models: PositiveInt = Field(default=8, description="Models of one job, at most.")
