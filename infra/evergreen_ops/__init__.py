"""What an engineer runs: the `evergreen` command, the local cloud, the replay."""
