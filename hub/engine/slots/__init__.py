"""The slot table: which adapter is in which slot, and which is evicted."""
