"""
Inputs made to break what reads them (docs/fuzzing.rst).
"""
