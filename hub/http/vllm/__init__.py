"""Routes of vLLM that load and unload adapters while the server runs."""
