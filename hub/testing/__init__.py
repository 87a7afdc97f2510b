"""What plugin authors and our own tests use; product code imports none of it."""
