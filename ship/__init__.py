"""What the artifact says about itself, and how it is packed."""
