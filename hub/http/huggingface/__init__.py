"""Routes in the wire format of Hugging Face's inference clients."""
