"""Makes `tests.support` importable in a benchmark that is run as a script: import this module before it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))
