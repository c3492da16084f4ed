"""cli: words for operators."""
