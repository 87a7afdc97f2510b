"""PEFT folders: imported into the store and written from it."""
