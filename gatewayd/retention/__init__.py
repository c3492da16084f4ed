"""retention: forget what is past its time, and copy what must not be lost."""
