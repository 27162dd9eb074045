"""The four panels and the status line, one widget a file; each draws one frame and knows no other panel."""
