"""The Harbor client: transport, wire models and errors. It knows Harbor's API and nothing of Kubernetes."""
