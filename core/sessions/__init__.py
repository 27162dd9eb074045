"""Saved walks.

`record.copy` takes a `Record` from a session, `writer.write_record` and `reader.read_record` exchange it with a file,
`resume.session` makes it a session again, `replay.replay` checks it against a model, `export.FORMATS` hands it on.
"""
