"""Charts, comparisons of images, and the papers' figures."""
