"""One file a method, its name the entry's name; files that start with an underscore are shared."""
