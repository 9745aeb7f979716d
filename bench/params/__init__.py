"""The parameters of `params.yaml`: their keys, how they are checked, and what a run resolves to."""
