"""`python -m bench` is the command `sharpbench`. Below `python -m bench.warm` it hands its work to the warm server."""

from bench import stop_signals


def main() -> int:
    """Run one command, in the warm server where there is one, and return its exit status."""
    stop_signals.on_signals(stop_signals.end_at_once)  # before anything else is imported
    import sys

    from bench.warm import run_in_server

    status = run_in_server(sys.argv[1:])
    if status is None:
        from bench.cli.main import main as run_command

        status = run_command()
    return status


if __name__ == "__main__":
    raise SystemExit(main())
