# SPDX-License-Identifier: Apache-2.0
"""Training recipes: their base class, and reading them from YAML.

``recipes/*.yaml`` hold the shipped recipes and explain every field.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, get_type_hints

from mllmseg_ros.data.run_folder import check_resume_config
from mllmseg_ros.files import read_yaml

__all__ = [
    "AtLeast0",
    "Count",
    "Fraction",
    "NonNegative",
    "OpenFraction",
    "Positive",
    "Precision",
    "Recipe",
    "Share",
    "one_of",
    "read_recipe",
]

RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Accepted:
    """The values that a field may have, stated on its type."""

    text: str  # as in errors: "accepted: 1 or more"
    test: Callable[[Any], bool]


def one_of(*values: str) -> Accepted:
    """Accept some words."""
    return Accepted(", ".join(values), lambda value: value in values)


Count = Annotated[int, Accepted("1 or more", lambda value: value >= 1)]
AtLeast0 = Annotated[int, Accepted("0 or more", lambda value: value >= 0)]
Positive = Annotated[float, Accepted("above 0", lambda value: value > 0)]
NonNegative = Annotated[float, Accepted("0 or more", lambda value: value >= 0)]
Share = Annotated[float, Accepted("0 to 1", lambda value: 0 <= value <= 1)]
Fraction = Annotated[float, Accepted("0 to below 1", lambda value: 0 <= value < 1)]
OpenFraction = Annotated[float, Accepted("above 0 and below 1", lambda value: 0 < value < 1)]
Precision = Annotated[str, one_of("bf16", "fp32")]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings of a training: int, float, bool and str fields, their ranges in their types."""

    FORMER_NAMES: ClassVar[Mapping[str, str]] = {}  # of fields -> today's; old files keep working

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: naming the field, its value and what is accepted.
        """
        for name, kind in get_type_hints(type(self), include_extras=True).items():
            for accepted in getattr(kind, "__metadata__", ()):
                value = getattr(self, name)
                if not accepted.test(value):
                    raise ValueError(f"recipe: {name} is {value!r}, accepted: {accepted.text}")

    def check_run(self, run: Path, **inputs: Any) -> None:
        """Write this recipe into a new run folder, or check that the run there has the same.

        Args:
            run: the run's folder.
            inputs: what else must not change when a run is resumed: start checkpoint, data.

        Raises:
            ValueError: naming the fields that differ.
        """
        check_resume_config(run, {**dataclasses.asdict(self), **inputs}, self.FORMER_NAMES)


AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)


def read_recipe(recipe: type[AnyRecipe], name_or_path: str, **changes: Any) -> AnyRecipe:
    """Read a recipe. A field under its former name is read with a warning.

    Args:
        recipe: the class that has the fields.
        name_or_path: name of a shipped recipe, or a YAML file with the same fields.
        changes: fields to override; None leaves them.

    Raises:
        ValueError: if there is no such recipe, or a field is missing, unknown, of another type or
            out of range.
    """
    path = RECIPES / f"{name_or_path}.yaml"
    path = path if path.is_file() else Path(name_or_path)
    if not path.is_file():
        shipped = ", ".join(sorted(each.stem for each in RECIPES.glob("*.yaml")))
        raise ValueError(f"no recipe {name_or_path!r}; there are {shipped}, or name a YAML file")
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected fields and values")
    for former, name in recipe.FORMER_NAMES.items():
        if former in values and name not in values:
            warnings.warn(f"{path}: {former} is {name} now", FutureWarning, stacklevel=2)
            values[name] = values.pop(former)
    values |= {name: value for name, value in changes.items() if value is not None}
    hints = get_type_hints(recipe)
    fields = {field.name: hints[field.name] for field in dataclasses.fields(recipe)}
    for name in sorted(fields.keys() ^ values.keys(), key=str):
        raise ValueError(f"{path}: {name} is {'missing' if name in fields else 'not a field'}")
    for name, kind in fields.items():
        value = values[name]
        accepted = (int, float) if kind is float else kind
        if not isinstance(value, accepted) or (kind is not bool and isinstance(value, bool)):
            raise ValueError(f"{path}: {name} is {value!r}, expected {kind.__name__}")
    return recipe(**values)
