"""The report of a run: one self-contained page that opens offline, made from the output directory alone."""

from ..run.layout import report_path
from .page import write_report

__all__ = ["report_path", "write_report"]
