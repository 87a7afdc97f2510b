"""PEFT adapters: config, weights, and the model that trains them."""
