"""Output of commands: tables, progress bars, figures."""
