"""The HTTP service: an image comes in, a certificate goes out. `app.create_app` builds it."""
