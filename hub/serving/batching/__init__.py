"""Batching: fair queues, batches and the engine that runs them."""
