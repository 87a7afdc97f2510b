"""Routes in the wire format of Ollama, for clients that speak it."""
