"""Scores of images, costs of networks, and the evaluation of runs."""
