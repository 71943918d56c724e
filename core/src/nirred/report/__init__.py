"""The report of a run: one self-contained page that opens offline, made from the output directory alone."""

from .page import report_path, write_report

__all__ = ["report_path", "write_report"]
