"""What lies in quarantine, decoded anew with the configuration of today: after a device was registered, a route added, a
codec mended.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gateway.config import SourcesPart
from gateway.journal import Counts, Intake, Journal, Quarantined
from gateway.model import Received
from gateway.protocols import codecs, new_decoder
from gateway.protocols.base import Context
from gateway.sources.topics import Router, TopicRoute, matches

AT_ONCE = 500


class Readmission:
    """Takes frames out of quarantine and in again. What is still wrong with them puts them back, with today's reason."""

    def __init__(self, journal: Journal, intake: Intake, sources: SourcesPart) -> None:
        self._journal, self._intake = journal, intake
        self._options = {port.name: port.options for port in sources.serial}
        self._options |= {file.name: file.options for file in sources.recording}
        endpoint = (sources.endpoint,) if sources.endpoint is not None else ()
        self._routes: dict[str, Sequence[TopicRoute]] = {s.name: s.routes for s in (*sources.mqtt, *endpoint)}

    async def device(self, device_id: str) -> Counts:
        """Everything that lies there of a device; what became of its records."""
        upto = after_id = 0
        while rows := self._journal.quarantined(after_id, AT_ONCE, device_id):
            upto = after_id = rows[-1].id
        found = Counts()
        after_id = 0
        # What is put back has a new id, above those: it is not tried again at once.
        while after_id < upto and (rows := self._journal.quarantined(after_id, AT_ONCE, device_id)):
            after_id = rows[-1].id
            found.add(await self._rows([row for row in rows if row.id <= upto]))
        return found

    async def _rows(self, rows: Sequence[Quarantined]) -> Counts:
        """Raises DiskTrouble, and nothing has changed. What decodes to nothing at all stays where it is."""
        ours = [row for row in rows if row.records]  # the others were set aside by a reader of the journal
        decoded = {row.id: list(self._again(row)) for row in ours}
        ids = [row_id for row_id, received in decoded.items() if received]
        appended = await self._intake.readmit(ids, [each for row_id in ids for each in decoded[row_id]])
        return appended.counts

    def _again(self, row: Quarantined) -> Iterator[Received]:
        routes = [r for r in self._routes.get(row.source, ()) if row.topic is not None and matches(r.filter, row.topic)]
        if routes and row.topic is not None:
            router = Router(routes, knows_client_id=True)
            yield from router.receive(
                row.topic, row.raw, row.retained, row.received_ms, row.source, device_id=row.device_id
            )
            yield from router.end(row.received_ms)
        elif row.protocol in codecs():
            context = Context(device_id=row.device_id, topic=row.topic)
            decoder = new_decoder(row.protocol, context, self._options.get(row.source))
            for frame in (*decoder.feed(row.raw, row.received_ms), *decoder.end(row.received_ms)):
                yield row.received(frame)
