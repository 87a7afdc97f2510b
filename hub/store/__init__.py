"""Adapter versions: manifest, content-addressed folders, the SQL catalog, PEFT in and out."""
