"""One participant's session: the WebSocket, the requested settings, the connection and the engines it runs on."""
