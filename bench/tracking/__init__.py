"""MLflow: where runs are logged, how they are shown there, and how a number finds its run again."""
