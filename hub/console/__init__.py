"""The console: pages of a running server, for browsers."""
