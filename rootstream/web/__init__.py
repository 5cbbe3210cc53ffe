"""
The page of a program, and its metrics: what it shows, and who may see it.

It knows a program only as `rootstream.web.served.Served` says.  Nothing here reads a
file but those of the package, or fetches anything from another site.
"""
