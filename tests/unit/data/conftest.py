# SPDX-License-Identifier: Apache-2.0
"""Test folders are not packages: put the maker of small data sets on the path."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
