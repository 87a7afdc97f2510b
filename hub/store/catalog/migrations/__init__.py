"""Schema migrations, run by alembic when a catalog is opened; `HEAD` is the newest."""

HEAD = "0003"
