"""`python -m bench` is the command `sharpbench`."""

import sys

from bench.cli import main

sys.exit(main())
