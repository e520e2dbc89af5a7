"""The custom resources as users see them: models, conditions and reasons, and the CRDs generated from them.

Nothing here does I/O or depends on Harbor's wire format.
"""
