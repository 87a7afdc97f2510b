"""Text generation: rows of many adapters decode together on one base, and join and leave between steps."""
