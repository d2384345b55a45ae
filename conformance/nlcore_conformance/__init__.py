"""nlcore_conformance: does an implementation compute the non-local block, and how exactly?

Heavy imports (hypothesis, rich) stay in the modules: the pytest plugin must be harmless where
they are not installed.
"""
