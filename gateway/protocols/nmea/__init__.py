"""NMEA 0183: what GNSS receivers say over serial lines, and many trackers over anything else.

Sources of the rules: NMEA 0183 as used by receivers in the field (gpsd's drivers and regression recordings), the u-blox,
Garmin, SiRF, SkyTraq and Ashtech manuals for the proprietary sentences.

`framing` finds sentences in bytes, `grammar` and `sentences` read them, `epoch` collects those of one instant, `fix`
weighs them, `clock` dates them, `decoder` ties these together; `encode` is the device's side.
"""

from gateway.protocols.base import Codec
from gateway.protocols.nmea.decoder import NmeaDecoder
from gateway.protocols.nmea.encode import NmeaEncoder
from gateway.protocols.nmea.options import NmeaOptions

__all__ = ["CODEC", "NmeaDecoder", "NmeaEncoder", "NmeaOptions"]

CODEC = Codec(
    name="nmea",
    title="NMEA 0183",
    decoder=NmeaDecoder,
    encoder=NmeaEncoder,
    options_type=NmeaOptions,
    transports=("serial", "tcp", "udp", "mqtt"),
    whole_datagrams=False,
    text=True,
)
