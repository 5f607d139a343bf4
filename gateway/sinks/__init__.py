"""Readers of the journal that tell others: InfluxDB, dispatch over MQTT, webhooks."""
