"""Training jobs beside the server: what a request may ask for, the queue, and the process of a job."""
