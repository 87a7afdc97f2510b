"""The plugin template of `hub plugins new`."""
