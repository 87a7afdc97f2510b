"""Installs, removes, locks and restores plugins without changing the libraries that the hub runs on."""
