"""
The page of a program, and its metrics: what it shows, and who may see it.

It knows a program only as `rootstream.web.served.Served` says, and fetches nothing from
another site.
"""
