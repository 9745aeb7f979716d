"""Degradations: blur, masks and dual-pixel views."""
