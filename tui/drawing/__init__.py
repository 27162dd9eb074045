"""Bars, plots, text and painted pages for panels, lenses, screens and reports. Import from its modules."""
