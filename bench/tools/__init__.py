"""Tools beside the pipeline: documentation pages, screenshots, the doctor, the dashboard."""
