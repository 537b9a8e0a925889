"""Counts of a service in Prometheus' text format (version 0.0.4)."""

import bisect
from collections import Counter
from collections.abc import Iterator, Sequence

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
IMAGES = (1, 2, 4, 8, 16, 32, 64)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Histogram:
    """How many values were at most each bound, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect.bisect_left(self.bounds, value)] += 1
        self.sum += value

    def lines(self, name: str, labels: str = "") -> Iterator[str]:
        """As Prometheus reads it: each bound counts all that is below it too."""
        total = 0
        for bound, count in zip((*self.bounds, "+Inf"), self.counts, strict=True):
            total += count
            yield f'{name}_bucket{{{labels}{"," * bool(labels)}le="{bound}"}} {total}'
        around = f"{{{labels}}}" if labels else ""
        yield f"{name}_sum{around} {self.sum:.6f}"
        yield f"{name}_count{around} {total}"


class Metrics:
    """What happened since the start."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        """By route and status."""
        self.seconds: dict[str, Histogram] = {}
        """From the whole request to the end of its answer, by route."""
        self.batches = Histogram(IMAGES)
        """For each image, how many images shared its batch."""
        self.restarts = 0

    def finished(self, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        self.requests[route, status] += 1
        self.seconds.setdefault(route, Histogram(SECONDS)).observe(seconds)

    def text(self, *, queued: int, ready: bool, model: str, held: int) -> str:
        """All of it, and what is so at this moment."""
        lines = [
            *_family("resnets_requests_total", "counter", "requests by route and status"),
            *(
                f'resnets_requests_total{{route="{route}",status="{status}"}} {count}'
                for (route, status), count in sorted(self.requests.items())
            ),
            *_family("resnets_request_seconds", "histogram", "from request to answer"),
            *(
                line
                for route, histogram in sorted(self.seconds.items())
                for line in histogram.lines("resnets_request_seconds", f'route="{route}"')
            ),
            *_family("resnets_batch_images", "histogram", "images in the batch of each image"),
            *self.batches.lines("resnets_batch_images"),
            *_family("resnets_queued_images", "gauge", "images that wait"),
            f"resnets_queued_images {queued}",
            *_family("resnets_held_bytes", "gauge", "bytes of requests in memory"),
            f"resnets_held_bytes {held}",
            *_family("resnets_ready", "gauge", "1 where requests are answered"),
            f"resnets_ready {int(ready)}",
            *_family("resnets_worker_restarts_total", "counter", "workers lost and replaced"),
            f"resnets_worker_restarts_total {self.restarts}",
            *_family("resnets_model_info", "gauge", "the model that answers"),
            f'resnets_model_info{{model="{model}"}} 1',
        ]
        return "\n".join(lines) + "\n"


def _family(name: str, kind: str, words: str) -> list[str]:
    return [f"# HELP {name} {words}", f"# TYPE {name} {kind}"]
