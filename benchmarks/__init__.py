"""Speed measured side by side, by command: `python -m benchmarks.<name> --help`."""
