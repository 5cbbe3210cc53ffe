"""
The page, as a real browser shows it.
"""
