"""The report: HTML pages that need nothing but themselves."""

from smalti.report.html import write_finding, write_report

__all__ = ["write_finding", "write_report"]
