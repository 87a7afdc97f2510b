"""The choice of a backbone by measured times."""
