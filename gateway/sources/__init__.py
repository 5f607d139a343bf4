"""Where bytes come from: serial ports, brokers, our own MQTT endpoint, recordings."""
