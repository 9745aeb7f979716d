"""The command line, `python -m bench` or `sharpbench`: one module per command; `main` finds and runs them."""
