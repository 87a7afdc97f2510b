"""The training loop: model, methods, loss, optimizer, batches and checkpoints."""
