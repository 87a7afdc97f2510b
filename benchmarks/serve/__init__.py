"""Requests a second, latency and memory over HTTP, ours beside servers made of plain PEFT."""
