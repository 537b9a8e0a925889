"""One model for other runtimes: written aside, read again, held against PyTorch, only then kept.

network + preprocessing -> ONNX -> OpenVINO, int8 -> proof -> RUN/export/FORMAT-PRECISION/
"""

from resnets.exporting.exporting import MAX_DROP, Exported, export_model
from resnets.exporting.forms import Form, Precision
from resnets.exporting.proof import Changed, GateFailed, Proof

__all__ = [
    "MAX_DROP",
    "Changed",
    "Exported",
    "Form",
    "GateFailed",
    "Precision",
    "Proof",
    "export_model",
]
