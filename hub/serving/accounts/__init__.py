"""Accounts of callers: limits, fair shares, and counts of what was used."""
