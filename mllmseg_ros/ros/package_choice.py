# SPDX-License-Identifier: Apache-2.0
"""Use a ROS package where it is installed and works, else this package's own implementation.

There is a choice because the ROS 2 wheels lack these packages, and because a package that was built
against another NumPy or Python does not work: cv_bridge crashes the process.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from mllmseg_ros.doctor.child_process import run_child

__all__ = ["Choice", "choose_implementation", "run_check_in_child"]

Implementation = TypeVar("Implementation")


@dataclass(frozen=True, kw_only=True)
class Choice(Generic[Implementation]):
    """The implementation to use.

    Attributes:
        implementation: of the package, or this package's own.
        problem: why the package is not used; "" if it is.
        line: one line for the log: which implementation is used, and why.
    """

    implementation: Implementation
    problem: str
    line: str


def choose_implementation(
    task: str,
    *,
    package: str,
    check: Callable[[], object],
    from_package: Implementation,
    own: Implementation,
    own_name: str,
) -> Choice[Implementation]:
    """Choose the implementation of a package if the package is installed and passes a check.

    Args:
        task: what is done, for the log: "images are converted".
        package: name to import.
        check: raises any exception if the package does not work.
        from_package: implementation that uses the package.
        own: implementation that does not.
        own_name: name of the latter for the log: "numpy".
    """
    problem = ""
    if importlib.util.find_spec(package) is None:
        problem = f"{package} is not installed"
    else:
        try:
            check()
        except Exception as error:  # a package that does not work may raise anything
            problem = f"{package} failed its self-check: {error}"
    if problem:
        return Choice(implementation=own, problem=problem, line=f"{task} by {own_name} ({problem})")
    line = f"{task} by {package} (self-check passed)"
    return Choice(implementation=from_package, problem="", line=line)


def run_check_in_child(code: str, timeout_s: float) -> None:
    """Run a line of Python in a child process, for a check that may crash.

    Raises:
        RuntimeError: saying why it failed.
    """
    problem, _ = run_child(code, timeout_s)
    if problem:
        raise RuntimeError(problem)
