"""A local page over every prediction of a study."""

from it_study.report.browser.server import serve

__all__ = ['serve']
