"""daemon: the only room that knows concrete classes."""
