"""Schema migrations, which alembic runs when a catalog is opened; `HEAD` is the newest revision."""

HEAD = "replica_plugins"
