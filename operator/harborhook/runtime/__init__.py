"""The machinery of reconciling: work queue, store of observed objects, event recorder, leader election. No Kubernetes
client."""
