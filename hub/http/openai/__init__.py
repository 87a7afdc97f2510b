"""Routes in the wire format of OpenAI, for clients that speak it."""
