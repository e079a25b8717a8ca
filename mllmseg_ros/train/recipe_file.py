# SPDX-License-Identifier: Apache-2.0
"""Read a recipe: ``recipes/*.yaml`` hold ours and explain every field."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from mllmseg_ros.error_text import one_line

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["read_recipe"]

RECIPES = Path(__file__).parent / "recipes"
Recipe = TypeVar("Recipe", bound="DataclassInstance")  # of int, float, bool and str fields


def read_recipe(recipe: type[Recipe], name_or_path: str, **changes: Any) -> Recipe:
    """Read a recipe.

    Args:
        recipe: the dataclass that has the fields.
        name_or_path: name of one of ours, or a YAML file with the same fields.
        changes: fields to set otherwise; None leaves them.

    Raises:
        ValueError: if there is no such recipe, or a field is missing, unknown or of another type.
    """
    path = RECIPES / f"{name_or_path}.yaml"
    path = path if path.is_file() else Path(name_or_path)
    if not path.is_file():
        known = ", ".join(sorted(each.stem for each in RECIPES.glob("*.yaml")))
        raise ValueError(f"no recipe {name_or_path!r}; there are {known}, or name a YAML file")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not valid YAML ({one_line(error, with_type=False)})") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected fields and values")
    values |= {name: value for name, value in changes.items() if value is not None}
    types = {"int": int, "float": (int, float), "bool": bool, "str": str}
    fields = {field.name: str(field.type) for field in dataclasses.fields(recipe)}
    for name in sorted(fields.keys() ^ values.keys()):
        raise ValueError(f"{path}: {name} is {'missing' if name in fields else 'not a field'}")
    for name, kind in fields.items():
        value = values[name]
        if not isinstance(value, types[kind]) or (kind != "bool" and isinstance(value, bool)):  # type: ignore[arg-type]
            raise ValueError(f"{path}: {name} is {value!r}, expected {kind}")
    return recipe(**values)
