"""Commands that make and read reports; `bench.cli.main` finds them by name, so `bench` never imports `reports`."""
