"""`evergreen tune`: which policy suits a history, by what it costs and how good its answers are."""
