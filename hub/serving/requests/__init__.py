"""The path of one request: parsing, encoding, the forward pass, decoding."""
