"""One file a dataset, its name the entry's name; files that start with an underscore are shared."""
