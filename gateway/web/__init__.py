"""HTTP: the API, the live stream and the map page."""
