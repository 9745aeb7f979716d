"""Published numbers as data, and the code that renders tables, figures and the page."""
