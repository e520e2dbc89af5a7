"""The Harbor client: transport, wire models and errors. It knows Harbor's API but not Kubernetes."""
