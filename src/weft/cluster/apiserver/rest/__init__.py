"""The server's HTTP side: paths, bodies and answers."""
