"""The cloud as a server on localhost, in real time, for any client."""
