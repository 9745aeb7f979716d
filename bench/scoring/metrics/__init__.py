"""The metrics: each id names one convention completely."""
