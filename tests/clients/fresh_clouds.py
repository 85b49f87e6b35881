"""Serve a local cloud on a port, and a new one in its place for each line that is read: a restart without a start."""

import sys

from local_cloud.server.server import LocalServer


def main() -> None:
    """Say ``ready`` whenever a new cloud answers, until there is nothing more to read."""
    port = int(sys.argv[1])
    server = LocalServer(port=port).start()
    print("ready", flush=True)
    for _ in sys.stdin:
        server.close()
        server = LocalServer(port=port).start()
        print("ready", flush=True)
    server.close()


if __name__ == "__main__":
    main()
