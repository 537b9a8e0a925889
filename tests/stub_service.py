"""A service for tests of the page: it speaks HTTP as ours does, and fails as the test wants.

Its answers and maps are those of a real classifier.
"""

import base64
import json
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

import numpy as np
from PIL import Image

from made_up import encoded
from resnets.errors import ResnetsError
from resnets.exporting.web import PAGE

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; frame-ancestors 'none'"
)
KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
HOSTILE = '"><img src=x onerror=alert(1)><script>alert(2)</script>'


class Service:
    """A classifier behind HTTP that can be busy, guarded, or unable to explain."""

    def __init__(self, classifier):
        self.classifier = classifier
        self.threshold = None
        self.model = "1f" * 32
        self.token = None
        self.explains = True
        self.report = True
        self.refusals = []
        """Statuses that the next answers have instead."""
        self.asked = []

    def card(self):
        scores = {
            "accuracy": {"value": 0.8, "low": 0.75, "high": 0.85, "n": 40},
            "split": "test",
            "data": HOSTILE,
            "n": 40,
        }
        told = {"threshold": self.threshold, "temperature": 1.25, "scores": scores}
        return {
            "model": self.model,
            "explains": self.explains,
            "card": self.classifier.card | told,
        }

    def predict(self, body, top):
        ranked = self.classifier.predict(body, top=top)
        row = {
            "file": "",
            "predictions": [{"label": p.label, "probability": p.probability} for p in ranked],
        }
        if self.threshold is not None:
            row["unsure"] = ranked[0].probability < self.threshold
        return {"model": self.model, "results": [row]}

    def explain(self, body, label):
        maps = []
        for evidence in self.classifier.explain(body, label=label).evidence:
            heat = np.clip(evidence.map / max(1e-12, np.abs(evidence.map).max()), 0, 1)
            veil = np.full((*heat.shape, 4), (255, 60, 0, 0), np.uint8)
            veil[..., 3] = 255 * heat
            png = base64.b64encode(encoded(Image.fromarray(veil))).decode()
            maps.append({**evidence.to_dict(), "png": png})
        first = maps[0]
        return {"label": first["label"], "probability": first["probability"], "maps": maps}


def handler_of(service):
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format, *args):
            pass

        def answer(self, status, body, kind="application/json", **headers):
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            headers |= {"Content-Type": kind, "Content-Length": len(data)}
            for name, value in {**headers, "Content-Security-Policy": POLICY}.items():
                self.send_header(name.replace("_", "-"), str(value))
            self.end_headers()
            self.wfile.write(data)

        def refuse(self, status, **headers):
            error = {"problem": f"problem {HOSTILE}", "fix": "the fix"}
            self.answer(status, {"error": error}, **headers)

        def allowed(self):
            good = f"Bearer {service.token}"
            return service.token is None or self.headers["Authorization"] == good

        def do_GET(self):
            path = urlsplit(self.path).path
            file = PAGE / (path[1:] or "index.html")
            if path == "/v1/model":
                self.answer(200, service.card()) if self.allowed() else self.refuse(401)
            elif path == "/report" and service.report and self.allowed():
                self.answer(200, b"<title>the report</title>", "text/html")
            elif file.parent == PAGE and file.exists():
                self.answer(200, file.read_bytes(), KINDS[file.suffix])
            else:
                self.refuse(404)

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            parts = urlsplit(self.path)
            query = parse_qs(parts.query)
            service.asked.append((parts.path, len(body)))
            if not self.allowed():
                return self.refuse(401)
            if service.refusals:
                return self.refuse(service.refusals.pop(0), Retry_After=1)
            if parts.path == "/v1/explain" and not service.explains:
                return self.refuse(409)
            try:
                if parts.path == "/v1/predict":
                    self.answer(200, service.predict(body, int(query["top"][0])))
                else:
                    self.answer(200, service.explain(body, query["label"][0]))
            except ResnetsError as error:
                told = {"problem": error.problem, "fix": error.fix}
                self.answer(422, {"error": told})

    return Handler
