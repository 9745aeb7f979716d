"""The printed numbers of the papers, as data, and how they are read."""
