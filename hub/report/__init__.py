"""The report of a training run: its record, and the page and plots made from it."""
