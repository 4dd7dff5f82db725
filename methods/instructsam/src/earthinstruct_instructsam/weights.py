"""`python -m earthinstruct_instructsam.weights list | fetch NAME`: the command of `earthinstruct_models`."""

from __future__ import annotations

import sys

from earthinstruct_models.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
