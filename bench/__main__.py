"""`python -m bench` is the command `sharpbench`; below `python -m bench.warm` a process that is warm does its work."""

import sys

from bench.warm import hand_over

status = hand_over(sys.argv[1:])
if status is None:
    from bench.cli import main

    status = main()
sys.exit(status)
