"""What plugins add to the server: route families, among them the protocols, and renderers."""
