"""Puts this folder on the path of the tests, so that they can import what they share."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
