"""`python -m ddrnet` and `torchrun -m ddrnet` are the `ddrnet` command."""

import sys

from ddrnet.cli import main

if __name__ == "__main__":
    sys.exit(main())
