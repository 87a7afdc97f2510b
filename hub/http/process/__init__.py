"""Serving processes: the supervisor, its workers, and HTTP/1.1 on a connection."""
