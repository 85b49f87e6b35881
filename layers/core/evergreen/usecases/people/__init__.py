"""What a person asks of a model or decides about it."""
