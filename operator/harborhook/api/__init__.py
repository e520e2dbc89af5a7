"""The resources as users see them: models, conditions and reasons, and the CRDs made from them.

Nothing here does I/O or knows of Harbor's wire format.
"""
