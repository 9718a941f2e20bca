"""A small shop: the program that `make demo` changes while it runs."""
