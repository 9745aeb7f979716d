"""The training loop, its resume state and its records."""
