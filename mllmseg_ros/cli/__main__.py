# SPDX-License-Identifier: Apache-2.0
"""``python -m mllmseg_ros.cli``: the command as a module, as torchrun needs it."""

import sys

from mllmseg_ros.cli import main

sys.exit(main())
