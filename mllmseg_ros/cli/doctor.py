# SPDX-License-Identifier: Apache-2.0
"""``mllmseg doctor``: can the model run on this machine?"""

from __future__ import annotations

import argparse
from typing import Any

from mllmseg_ros.cli.arguments import add_model


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    doctor = verbs.add_parser("doctor", help="can the model run on this machine?")
    add_model(doctor)
    doctor.set_defaults(run=_doctor)


def _doctor(asked: argparse.Namespace) -> None:
    from mllmseg_ros.doctor.machine import check_machine, print_findings

    if print_findings(check_machine(asked.model, asked.device, asked.dtype)):
        raise ValueError("something fails, see above (of ROS 2: ros2 run mllmseg_ros doctor)")
