"""`python -m bench` is the command `sharpbench`. Below `python -m bench.warm` it hands its work to the warm server."""

import sys

from bench.warm import run_in_server

status = run_in_server(sys.argv[1:])
if status is None:
    from bench.cli.main import main

    status = main()
sys.exit(status)
