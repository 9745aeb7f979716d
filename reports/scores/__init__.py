"""The scores that a report is made of, and their statistics."""
