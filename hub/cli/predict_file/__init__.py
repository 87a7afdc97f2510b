"""`hub predict --file`: answers for the rows of a file."""
