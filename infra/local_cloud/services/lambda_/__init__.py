"""Functions: calls, the asynchronous queue, polled queues; and what runs their code."""
