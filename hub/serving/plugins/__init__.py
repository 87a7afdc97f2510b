"""Plugin code in serving: threads with a time limit, checks of results, suspension."""
