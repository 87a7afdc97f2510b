"""Load on many deployments in few slots while they are swapped, and a judge of every answer."""
