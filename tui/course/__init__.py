"""The course: lessons that are played on the live app."""
