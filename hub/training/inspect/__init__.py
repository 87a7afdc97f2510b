"""A look at rows before they are trained on."""
