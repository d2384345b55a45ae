"""nlcore_conformance: does an implementation compute the non-local block, and how exactly?

This file imports nothing: pytest loads the plugin wherever nlcore is installed, with or without
hypothesis and rich.
"""
