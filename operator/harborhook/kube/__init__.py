"""The Kubernetes API: the gateway for our own calls, and the additions to kopf's watches."""
