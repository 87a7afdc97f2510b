"""The plugin host: finds task plugins from metadata and loads each in isolation."""
