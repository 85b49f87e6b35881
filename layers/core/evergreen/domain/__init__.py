"""The pure core: states, decisions and their reasons. No boto3, no clock, no randomness."""
