"""Objects that expire, and the events that buckets send."""
