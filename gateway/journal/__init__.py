"""The durable log: what was received, what was concluded, and how far each reader is."""
