"""`python -m earthinstruct`."""

import sys

from earthinstruct.cli import main

if __name__ == "__main__":
    sys.exit(main())
