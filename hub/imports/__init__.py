"""Imports of adapters that were made elsewhere: a PEFT folder becomes a stored version."""
