"""Answers that are no success: one shape for all of them, with each mistake, its place, and what to write instead."""

from __future__ import annotations

import logging
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi.datastructures import ResponseSpec
from litestar.types import ExceptionHandlersMap
from msgspec import Struct

from gateway.journal import JournalError
from gateway.problems import BadInput, Problem

log = logging.getLogger(__name__)

RETRY_AFTER_S = 5
MEANINGS = {
    400: "A parameter or the document has mistakes; `problems` lists them. Nothing has changed.",
    401: "The gateway's token is asked for.",
    403: "The gateway serves its own machine only, and was asked for by another name.",
    404: "There is none of that name.",
    413: "The document is larger than `web.body_max_bytes`.",
    503: "Not now: the disk is full, too many streams are open, or the gateway stops. Nothing has changed.",
}


class Refusal(Struct, frozen=True, kw_only=True):
    """Why the answer is no. `problems`: each mistake with its place and what to write instead."""

    status_code: int
    detail: str
    problems: tuple[Problem, ...] = ()


class NotNow(HTTPException):
    """The same request can succeed later."""

    status_code = 503

    def __init__(self, detail: str) -> None:
        super().__init__(detail=detail, headers={"retry-after": str(RETRY_AFTER_S)})


def refusals(*status_codes: int) -> dict[int, ResponseSpec]:
    """For the OpenAPI document: these, and those that any request may meet."""
    return {
        code: ResponseSpec(Refusal, generate_examples=False, description=MEANINGS[code])
        for code in sorted({401, 403, *status_codes})
    }


def _answer(
    status_code: int, detail: str, problems: tuple[Problem, ...] = (), headers: dict[str, str] | None = None
) -> Response[Refusal]:
    told = Refusal(status_code=status_code, detail=detail, problems=problems)
    return Response(told, status_code=status_code, headers=headers)


def _bad_input(_: Request[Any, Any, Any], error: BadInput) -> Response[Refusal]:
    return _answer(400, "the request has mistakes", error.problems)


def _bad_parameter(_: Request[Any, Any, Any], error: ValidationException) -> Response[Refusal]:
    found = error.extra if isinstance(error.extra, list) else []
    problems = tuple(
        Problem(each.get("key", ""), each["message"], "see /schema/openapi.json")
        for each in found
        if isinstance(each, dict) and "message" in each
    )
    return _answer(400, "the request has mistakes" if problems else error.detail, problems)


def _refused(_: Request[Any, Any, Any], error: HTTPException) -> Response[Refusal]:
    return _answer(error.status_code, error.detail, headers=error.headers)


def _journal_error(_: Request[Any, Any, Any], error: JournalError) -> Response[Refusal]:
    return _answer(503, str(error), headers={"retry-after": str(RETRY_AFTER_S)})


def _mistake(request: Request[Any, Any, Any], error: Exception) -> Response[Refusal]:
    log.error("%s %s failed: please report it", request.method, request.url.path, exc_info=error)
    return _answer(500, "a mistake of ours; the gateway's log says more")


HANDLERS: ExceptionHandlersMap = {
    BadInput: _bad_input,
    ValidationException: _bad_parameter,
    HTTPException: _refused,
    JournalError: _journal_error,
    Exception: _mistake,
}
