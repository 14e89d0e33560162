"""The user's side of a build: the recipe, the network, its weights and data, and fingerprints of them."""
