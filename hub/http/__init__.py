"""The BentoML service: HTTP in, HTTP out; nothing here knows how an answer is computed."""
