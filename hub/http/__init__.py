"""The BentoML service: routes, authentication, limits and serving processes."""
