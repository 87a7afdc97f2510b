"""The kinds of things that a plugin can add besides tasks, one module each: a spec and a class to extend."""
