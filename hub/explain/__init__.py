"""Explanations: which words of a text an answer comes from."""
