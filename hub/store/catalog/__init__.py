"""The SQL catalog: tables, migrations, deployments and feedback."""
