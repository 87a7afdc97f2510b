"""What the server records of its calls: for metrics, the access log and traces; never texts."""
