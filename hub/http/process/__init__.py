"""Serving processes: the supervisor, its workers, and the HTTP/1.1 protocol."""
