"""Built sets: made, packed, augmented and put into batches."""
