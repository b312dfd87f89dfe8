"""The tasks by the name that a recipe gives."""

from __future__ import annotations

from ossicle.models.nets.endpoint import Endpoint
from ossicle.models.nets.language import Language
from ossicle.models.nets.lm import Lm
from ossicle.models.nets.nlu import Nlu
from ossicle.models.nets.recipe import NetRecipe
from ossicle.models.nets.speaker import Speaker
from ossicle.models.nets.task import Task
from ossicle.models.nets.whisper import Whisper

TASKS: dict[str, type[Task]] = {
    "endpoint": Endpoint, "language": Language, "lm": Lm, "nlu": Nlu, "speaker": Speaker, "whisper": Whisper,
}  # fmt: skip


def open_task(recipe: NetRecipe) -> Task:
    """Raises ValueError on a task that there is not."""
    if recipe.task not in TASKS:
        raise ValueError(f"there is no task {recipe.task!r}; there are {', '.join(TASKS)}")
    return TASKS[recipe.task](recipe)
