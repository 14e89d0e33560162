"""What is being built: facts, the model between two passes, helpers on its exported graph, errors."""
