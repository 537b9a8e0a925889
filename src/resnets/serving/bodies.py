"""The images in a request's body, held against what is taken before anything is decoded."""

from typing import Any, NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from resnets.decoding.reasons import Refused, recognised
from resnets.serving.refusals import Refusal

TAKEN = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
"""The kinds that are taken over HTTP: those that browsers and phones make."""
LONGEST_NAME = 255


class Part(NamedTuple):
    """One image as it was sent."""

    file: str
    """The name its sender gave it; only ever told back."""
    data: bytearray

    @property
    def refusal(self) -> Refusal | None:
        """Why it is not taken, by its first bytes; ``None`` for what may be an image."""
        try:
            kind = recognised(bytes(self.data[:4096]))
        except Refused as refused:
            status = 415 if self.data else 400
            return Refusal(status, refused.reason, "send a JPEG, PNG or WebP image")
        if kind in TAKEN:
            return None
        return Refusal(
            415,
            f"is a {kind} image, which is not taken over HTTP",
            "send a JPEG, PNG or WebP image",
        )


def parts_of(content_type: str, body: bytearray, *, most: int) -> list[Part]:
    """The body as one image, or each part of a multipart body as one; that body is then emptied.

    Raises ``Refusal`` for a broken multipart body and for one of none or too many parts.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        return [Part("", body)]
    boundary = options.get(b"boundary", b"")
    found = _Parts(most)
    try:
        if not boundary:
            raise FormParserError("no boundary in the Content-Type")
        parser = MultipartParser(boundary, found.callbacks())
        parser.write(body)  # type: ignore[arg-type]  # it only searches and slices
        parser.finalize()
    except FormParserError as error:
        raise Refusal(
            400, f"the multipart body is broken: {error}", "send the image alone, or use a library"
        ) from error
    if not found.ended or not found.parts:
        raise Refusal(
            400, "the multipart body ends before its last part", "send it whole, with one image"
        )
    body.clear()
    return found.parts


class _Parts:
    """What the parser calls while it goes through the body."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.parts: list[Part] = []
        self.ended = False
        self._headers: dict[bytes, bytes] = {}
        self._field = self._value = b""
        self._data = bytearray()

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_part_data": self._more,
            "on_part_end": self._end,
            "on_header_field": self._named,
            "on_header_value": self._valued,
            "on_header_end": self._header,
            "on_end": self._whole,
        }

    def _begin(self) -> None:
        if len(self.parts) == self.most:
            raise Refusal(413, f"more than {self.most} images", "send several requests")
        self._headers, self._data = {}, bytearray()

    def _more(self, data: bytes, start: int, end: int) -> None:
        self._data += memoryview(data)[start:end]

    def _named(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _valued(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field = self._value = b""

    def _end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"filename", b"").decode("utf-8", "backslashreplace")
        self.parts.append(Part(name[:LONGEST_NAME], self._data))

    def _whole(self) -> None:
        self.ended = True
