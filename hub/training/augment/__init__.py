"""Changed copies of training rows: words left out, swapped, or put in other words."""
