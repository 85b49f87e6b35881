"""What wakes a function, as typed values; functions alone import it."""
