"""One signed webhook: every event as a CloudEvent by POST, signed by the Standard Webhooks rules, retried from the journal.

Any 2xx is an acknowledgement. 410 ends the subscription until the gateway starts again. Everything else, and silence, is
tried again with exponential back-off and jitter; the pause is shared by all vehicles, since it is the endpoint that is
down. An event that the endpoint refuses for `give_up_s` is set aside, so that it cannot hold up its vehicle for ever.
Signature: https://www.standardwebhooks.com (HMAC-SHA256 over `id.timestamp.body`, `v1,` and base64).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import logging
import os
import random
import time
from collections.abc import Callable

import httpx
from msgspec import Struct

from gateway import cloudevents
from gateway.journal import Journal, Stored, Watch
from gateway.problems import BadInput, Problem
from gateway.sinks.lanes import Lanes

log = logging.getLogger(__name__)

GONE = 410
SECRET_PREFIX = "whsec_"
SECRET_BYTES_MIN = 24


class WebhookOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[sinks.webhook]`. The secret, `whsec_` and base64 of 24 bytes or more, comes from the environment."""

    url: str
    secret_env: str = "WEBHOOK_SECRET"
    timeout_s: float = 10.0
    retry_min_s: float = 1.0
    retry_max_s: float = 900.0
    give_up_s: float = 72 * 3600.0
    parallel: int = 16


class Gone(Exception):
    """The endpoint answered 410: it does not want to hear from us again."""


def signing_key(secret: str, where: str) -> bytes:
    """The key of a `whsec_…` secret. Raises BadInput when it is none or too short to protect anything."""
    fix = f"write {SECRET_PREFIX} and the base64 of {SECRET_BYTES_MIN} random bytes or more"
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error as e:
        raise BadInput([Problem(where, "is no base64", fix)]) from e
    if len(key) < SECRET_BYTES_MIN:
        raise BadInput([Problem(where, f"holds {len(key)} bytes" if secret else "is not set", fix)])
    return key


def signature(key: bytes, message_id: str, timestamp_s: int, body: bytes) -> str:
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


class WebhookSink:
    """`now_s` is the wall clock, in the signed timestamp; waiting uses the monotonic one."""

    def __init__(
        self,
        options: WebhookOptions,
        journal: Journal,
        concluded: Watch,
        source: str,
        *,
        reader: str = "webhook",
        now_s: Callable[[], float] = time.time,
    ) -> None:
        if not options.url.startswith(("http://", "https://")):
            raise BadInput([Problem("sinks.webhook.url", f"{options.url!r} is no HTTP address", "write https://…")])
        self._key = signing_key(os.environ.get(options.secret_env, ""), f"environment variable {options.secret_env}")
        self.options = options
        self._journal, self._reader, self._source, self._now_s = journal, reader, source, now_s
        self._lanes = Lanes(journal, concluded, reader, self._deliver, parallel=options.parallel)
        self.stats = self._lanes.stats
        self._client = httpx.AsyncClient(timeout=options.timeout_s, follow_redirects=False)
        self._delay_s = 0.0
        self._resume_s = 0.0
        self._probing = asyncio.Lock()

    async def run(self) -> None:
        try:
            async with self._client:
                await self._lanes.run()
        except* Gone:
            log.error(
                "the webhook %s answered 410 Gone: no more is sent until the gateway starts again", self.options.url
            )
            self.stats.trouble = "410 Gone"
            await asyncio.Event().wait()  # its backlog stays in the journal

    async def _deliver(self, stored: Stored) -> None:
        body = cloudevents.encode(stored.event, self._source, stored.emitted_ms)
        message_id = cloudevents.event_id(stored.event)
        started_s = time.monotonic()
        while True:
            if self._delay_s:
                async with self._probing:  # down: one lane tries at a time, the others stand behind it
                    await asyncio.sleep(max(0.0, self._resume_s - time.monotonic()))
                    failure = await self._post(message_id, body)
            else:
                failure = await self._post(message_id, body)
            if failure is None:
                return
            if time.monotonic() - started_s > self.options.give_up_s:
                self._journal.set_aside(self._reader, body, failure, int(self._now_s() * 1000))
                self.stats.set_aside += 1
                log.error("the webhook refused event %s for too long; it is set aside: %s", message_id, failure)
                return

    async def _post(self, message_id: str, body: bytes) -> str | None:
        """None when the endpoint has it, else why not; the shared pause is set accordingly."""
        timestamp_s = int(self._now_s())
        headers = {
            "content-type": "application/cloudevents+json; charset=utf-8",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp_s),
            "webhook-signature": signature(self._key, message_id, timestamp_s, body),
        }
        retry_after = ""
        try:
            answer = await self._client.post(self.options.url, content=body, headers=headers)
        except httpx.HTTPError as e:
            failure = f"{type(e).__name__}: {e}".rstrip(": ")
        else:
            if answer.is_success:
                self._recovered()
                return None
            if answer.status_code == GONE:
                raise Gone
            failure, retry_after = f"HTTP {answer.status_code}", answer.headers.get("retry-after", "")
        self._failed(failure, retry_after)
        return failure

    def _failed(self, failure: str, retry_after: str) -> None:
        o = self.options
        self.stats.failures += 1
        if self.stats.trouble is None:
            log.warning("the webhook %s does not take events: %s; they wait in the journal", o.url, failure)
        self.stats.trouble = failure
        self._delay_s = min(max(self._delay_s * 2, o.retry_min_s), o.retry_max_s)
        wait_s = float(retry_after) if retry_after.isdecimal() else self._delay_s
        jitter = random.uniform(1.0, 1.3)  # noqa: S311 - jitter, not a secret
        self._resume_s = time.monotonic() + min(wait_s, o.retry_max_s) * jitter

    def _recovered(self) -> None:
        if self.stats.trouble is not None:
            log.info("the webhook %s takes events again", self.options.url)
        self.stats.trouble = None
        self._delay_s = 0.0
