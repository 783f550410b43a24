"""`python -m medseg COMMAND`: the same as ``medseg COMMAND``."""

from __future__ import annotations

import sys

from medseg.pipelines.cli import main

sys.exit(main())
