"""The plugin templates of `hub plugins new`: those of every plugin, and those of one head."""
