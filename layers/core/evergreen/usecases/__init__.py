"""What each function does, in terms of ports and the time of its event."""
