"""Why a network answers as it does: where the evidence lies, and whether the map of it is true.

Maps by Grad-CAM, integrated gradients and occlusion; their deletion and insertion scores; the
check with random weights; what single units see; and images near each other in the features.
"""

from resnets.explanation.embedding import Embedding, Neighbour
from resnets.explanation.explaining import Evidence, Explainer, Explanation
from resnets.explanation.maps import METHODS, grad_cam, integrated_gradients, occlusion
from resnets.explanation.pictures import PictureNames, picture, write_picture
from resnets.explanation.units import Units

__all__ = [
    "METHODS",
    "Embedding",
    "Evidence",
    "Explainer",
    "Explanation",
    "Neighbour",
    "PictureNames",
    "Units",
    "grad_cam",
    "integrated_gradients",
    "occlusion",
    "picture",
    "write_picture",
]
