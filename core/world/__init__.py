"""A tiny world: texts of a small grammar whose true next-token distribution is known. Needs no torch to be asked."""
