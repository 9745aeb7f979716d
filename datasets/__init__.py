"""One module per dataset, named like it; the folders hold what several datasets share."""
