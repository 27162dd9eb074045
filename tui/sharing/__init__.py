"""A walk that others follow: what is sent of it, the server beside the teacher's app, and what viewers receive."""
