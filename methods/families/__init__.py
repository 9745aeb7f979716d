"""Networks that several entries are made of."""
