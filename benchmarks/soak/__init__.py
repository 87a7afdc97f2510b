"""Memory growth of each engine under steady, varied load."""
