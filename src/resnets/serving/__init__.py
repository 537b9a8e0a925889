"""A model behind HTTP: answers, explanations and a page, by two processes.

    HTTP -> protocol (deadlines) -> guard (who may, how much) -> app (routes)
         -> dispatch (queue) -> a worker process (decodes, batches, answers)

The front never decodes an image and imports no torch; whatever an image does to the worker, the
front goes on and starts another one.
"""

from resnets.serving.settings import Limits, Settings

__all__ = ["Limits", "Settings"]
