"""From a request to its answer: deployments, residency, batching; free of any wire protocol."""
