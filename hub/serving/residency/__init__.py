"""Residency: loading versions into slots and keeping them there."""
