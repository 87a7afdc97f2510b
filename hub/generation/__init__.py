"""What a caller may ask of generated text: sampling settings, a response format, parts as they come."""
