"""The life of a residual-network classifier, one part per step."""

__version__ = "0.1.0"
