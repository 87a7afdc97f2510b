"""What `hub plugins new` writes."""
