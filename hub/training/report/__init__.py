"""The report of a training run: one JSON value, the page and the model card made of it."""
