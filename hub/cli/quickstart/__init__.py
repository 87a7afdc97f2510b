"""`hub quickstart`: a first training, a server, and a swap under load."""
