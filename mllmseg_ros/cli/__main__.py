# SPDX-License-Identifier: Apache-2.0
"""``python -m mllmseg_ros.cli``, for torchrun, which starts modules."""

import sys

from mllmseg_ros.cli import main

sys.exit(main())
