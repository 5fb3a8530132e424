"""Leaves when imported."""

import sys

sys.exit(3)
