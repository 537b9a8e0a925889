"""The routes."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

from resnets import __version__
from resnets.serving import metrics as prometheus
from resnets.serving import schemas
from resnets.serving.bodies import Part, parts_of
from resnets.serving.dispatch import Dispatch
from resnets.serving.files import Report, page_files, page_response
from resnets.serving.guard import BODY, Gone, Guard
from resnets.serving.messages import Head
from resnets.serving.metrics import Metrics
from resnets.serving.refusals import Refusal, busy
from resnets.serving.settings import Settings

REFUSED = (400, 401, 403, 408, 413, 415, 421, 422, 429, 503)
"""The statuses that a request with images may meet."""
LONGEST_LIST = 1_000
"""The most labels that are told of one image."""


class Json(JSONResponse):
    """JSON in ASCII: the name of a class may hold lone surrogates, which UTF-8 does not have."""

    def render(self, content: Any) -> bytes:
        """The bytes of the body."""
        return json.dumps(content, allow_nan=False).encode()


def create_app(settings: Settings, dispatch: Dispatch, metrics: Metrics) -> Guard:
    """The whole ASGI application."""
    app = FastAPI(
        title="resnets",
        version=__version__,
        description="Answers and explanations of one image classifier.",
        docs_url=None,  # they load scripts from elsewhere
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
    )
    pages = page_files()
    guard = Guard(app, settings, metrics, public=set(pages))
    _report_errors(app)
    _add_answers(app, settings, dispatch)
    _add_state(app, dispatch, metrics, guard)
    _add_pages(app, settings, pages)
    guard.routes = {route.path for route in app.routes}  # type: ignore[attr-defined]
    return guard


def _add_answers(app: FastAPI, settings: Settings, dispatch: Dispatch) -> None:
    limits = settings.limits

    @asynccontextmanager
    async def images(request: Request, most: int) -> AsyncIterator[list[Part]]:
        kind = request.headers.get("content-type", "")
        # In a thread: a multipart body can be one that is gone through byte by byte, for seconds.
        parts = await asyncio.to_thread(parts_of, kind, request.scope[BODY], most=most)
        try:
            yield parts
        finally:  # not when the garbage collector comes: an error may hold them till then
            for part in parts:
                part.data.clear()

    async def predicted(request: Request, parts: list[Part], top: int) -> Response:
        refusals = [part.refusal for part in parts]
        asked: list[tuple[Head, bytearray]] = [
            ({"kind": "predict", "file": part.file, "top": top}, part.data)
            for part, refusal in zip(parts, refusals, strict=True)
            if refusal is None
        ]
        if not asked and len(parts) == 1 and refusals[0] is not None:
            raise refusals[0]
        model, answers = await _answered(request, dispatch, asked)
        rest = iter(answers)
        results = []
        for part, refusal in zip(parts, refusals, strict=True):
            answer = next(rest) if refusal is None else {}
            if "refused" in answer:
                refusal = Refusal(*answer["refused"])
            if refusal is None:
                results.append(answer["result"])
            elif len(parts) == 1 or refusal.status >= 500:
                raise refusal
            else:
                results.append({"file": part.file, "error": refusal.problem})
        return Json({"model": model, "results": results})

    @app.post(
        "/v1/predict",
        summary="The likeliest labels of one image or of several",
        response_model=schemas.Predictions,
        responses=schemas.errors(*REFUSED),
        openapi_extra=schemas.images(many=True),
    )
    async def predict(
        request: Request, top: Annotated[int, Query(ge=1, le=LONGEST_LIST)] = 1
    ) -> Response:
        async with images(request, limits.images) as parts:
            return await predicted(request, parts, top)

    async def explained(request: Request, part: Part, options: Head) -> Response:
        if part.refusal is not None:
            raise part.refusal
        if dispatch.served and not dispatch.served["explains"]:
            raise Refusal(
                409,
                "an exported model answers, but cannot be looked into",
                "serve the run or the sealed model it was exported from, without --engine",
            )
        asked: Head = {"kind": "explain", "options": options}
        model, (answer,) = await _answered(request, dispatch, [(asked, part.data)], explains=True)
        if "refused" in answer:
            raise Refusal(*answer["refused"])
        return Json({"model": model, **answer["result"]})

    @app.post(
        "/v1/explain",
        summary="Where in an image the evidence for a class lies",
        response_model=schemas.Explanation,
        responses=schemas.errors(*REFUSED, 409),
        openapi_extra=schemas.images(many=False),
    )
    async def explain(
        request: Request,
        label: Annotated[str | None, Query(max_length=1_000)] = None,
        method: Literal["grad-cam", "integrated-gradients", "occlusion"] = "grad-cam",
        at: Annotated[str | None, Query(max_length=100)] = None,
    ) -> Response:
        options = {"label": label, "method": method, "at": at}
        async with images(request, 1) as (part,):
            return await explained(request, part, options)


async def _answered(
    request: Request,
    dispatch: Dispatch,
    asked: list[tuple[Head, bytearray]],
    *,
    explains: bool = False,
) -> tuple[str, list[Head]]:
    """What the worker says of each image. Raises ``Refusal``, and ``Gone`` for a lost client."""
    if not asked:
        return dispatch.served.get("model", ""), []
    job = dispatch.submit(asked, explains=explains)
    left = asyncio.create_task(_left(request))
    either: list[asyncio.Future[Any]] = [job.done, left]
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not job.done.done():
            raise Gone
        model, answers = job.done.result()
    finally:
        left.cancel()
        dispatch.withdraw(job)
    if any("dropped" in answer for answer in answers):  # withdrawn as its time ran out
        raise busy("it could not be answered in time", after=5)
    return model, answers


async def _left(request: Request) -> None:
    """Return when the client has closed the connection; its body was read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _add_state(app: FastAPI, dispatch: Dispatch, metrics: Metrics, guard: Guard) -> None:
    @app.get(
        "/v1/model",
        summary="The model's card and what runs it",
        response_model=schemas.Model,
        responses=schemas.errors(401, 403, 421),
    )
    async def model() -> Response:
        names = ("model", "engine", "explains", "notes", "card")
        return Json({name: dispatch.served[name] for name in names})

    @app.get(
        "/health/live",
        summary="Whether the service runs at all",
        response_model=schemas.Health,
        responses=schemas.errors(403, 421),
    )
    async def live() -> Response:
        return Json({"status": "live"})

    @app.get(
        "/health/ready",
        summary="Whether new requests should come here: a worker is alive and nothing stops",
        response_model=schemas.Health,
        responses=schemas.errors(403, 421, 503),
    )
    async def ready() -> Response:
        if not dispatch.ready:
            raise busy("the service is stopping" if dispatch.stopping else "no worker is ready")
        return Json({"status": "ready"})

    @app.get(
        "/metrics",
        summary="Counts for Prometheus",
        response_class=PlainTextResponse,
        responses=schemas.errors(401, 403, 421),
    )
    async def counts() -> Response:
        text = metrics.text(
            queued=dispatch.queued,
            ready=dispatch.ready,
            model=dispatch.served.get("model", ""),
            held=guard.held,
        )
        return Response(text, media_type=prometheus.CONTENT_TYPE)


def _add_pages(app: FastAPI, settings: Settings, pages: dict[str, tuple[bytes, str]]) -> None:
    report = Report(settings.run)

    @app.get("/report", include_in_schema=False)
    async def told() -> Response:
        return await report.response()

    def file(data: bytes, kind: str) -> Callable[[Request], Awaitable[Response]]:
        async def respond(_: Request) -> Response:
            return page_response(data, kind)

        return respond

    for path, (data, kind) in pages.items():
        app.add_route(path, file(data, kind))


def _report_errors(app: FastAPI) -> None:
    """Every error in the one form."""

    @app.exception_handler(Refusal)
    async def refused(_: Request, refusal: Refusal) -> Response:
        return Json(refusal.body(), refusal.status, headers=refusal.headers())

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        problem, fix = {
            404: ("there is no such path", "see /openapi.json"),
            405: (f"{request.method} is not taken here", "see /openapi.json"),
        }.get(error.status_code, (str(error.detail), "see /openapi.json"))
        body: dict[str, Any] = Refusal(error.status_code, problem, fix).body()
        return Json(body, error.status_code, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        name = first["loc"][-1]
        body = Refusal(422, f"{name}: {first['msg']}", "see /openapi.json").body()
        return Json(body, 422)

    @app.exception_handler(Exception)
    async def bug(_: Request, __: Exception) -> Response:
        body = Refusal(500, "this is our bug", "please report it with the lines of the log").body()
        return Json(body, 500)
