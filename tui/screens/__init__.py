"""What opens over the panels: pickers, a number to type, help."""
