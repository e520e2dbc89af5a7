"""The Kubernetes gateway: the few calls the operator makes, on the asyncio client."""
