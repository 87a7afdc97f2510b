"""The pages of the console, each with the actions that it offers."""
