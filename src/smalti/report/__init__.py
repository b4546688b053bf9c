"""The report: one HTML page that needs nothing but itself."""

from smalti.report.html import write_report

__all__ = ["write_report"]
