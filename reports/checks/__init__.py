"""The check of a rendered report, by what is checked: cells, tables, links and files."""
