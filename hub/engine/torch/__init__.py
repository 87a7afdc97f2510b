"""The torch backbone: slotted layers, stacks of adapter weights, heads."""
