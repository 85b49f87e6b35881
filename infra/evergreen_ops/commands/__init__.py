"""One file a group of commands: each adds its own to the `evergreen` command, and imports only when it runs."""
