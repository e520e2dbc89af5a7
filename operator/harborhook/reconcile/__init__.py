"""Reconciling: observe, plan, apply, record. One module per kind, and the parts that several kinds share.

A visit is level-based: it reads the present spec and the present state of Harbor, and does not depend on the events
before.
"""
