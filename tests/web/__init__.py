"""The HTTP side: API, stream and page."""
