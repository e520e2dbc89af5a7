"""Reconciling: observe, plan, apply, write the status. One module per kind, and what they share.

A visit to a resource is level-based: it looks at the spec and at Harbor as they are now, whatever happened before.
"""
