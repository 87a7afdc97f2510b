"""The control loop: makes what is served follow the catalog."""
