"""Search for the settings of a recipe that learn best."""
