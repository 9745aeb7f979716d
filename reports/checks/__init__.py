"""The check of a rendered report: every number and link leads to what made it."""
