"""The HTTP service: an image comes in, a certificate goes out. `server.app.create_app` builds it."""
