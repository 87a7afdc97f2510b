"""Explanations: which words of a text, or patches of an image, an answer comes from."""
