"""Work on many rows, trials or machines: bulk predictions, and what runs on Ray."""
