"""Tables: their model, cells, verdicts and text formats."""
