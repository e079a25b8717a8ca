# SPDX-License-Identifier: Apache-2.0
"""``mllmseg doctor``: check whether the model can run on this machine."""

from __future__ import annotations

import argparse
from typing import Any

from mllmseg_ros.cli.arguments import add_model, add_verb


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    doctor = add_verb(
        verbs,
        "doctor",
        "check whether the model can run on this machine",
        "mllmseg doctor",
        "mllmseg doctor --model MLLMSeg_InternVL2_5_1B_RES --device cuda",
    )
    add_model(doctor)
    doctor.set_defaults(run=_doctor)


def _doctor(arguments: argparse.Namespace) -> None:
    from mllmseg_ros.doctor.machine import check_machine, print_findings

    findings = check_machine(arguments.model, arguments.device, arguments.dtype, arguments.quantize)
    if print_findings(findings):
        raise ValueError("some checks failed, see above (for ROS 2: ros2 run mllmseg_ros doctor)")
