"""Contents: content-addressed folders of weights, here or at a URL."""
