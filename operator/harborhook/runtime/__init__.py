"""What makes reconciling run: work queue, store of what was seen, event recorder. No Kubernetes client here."""
