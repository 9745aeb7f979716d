"""Photographs inside installed packages, for the datasets' stand-ins."""
