"""The structure of channels: which go together, what they cost, which matter least, and how they are taken out."""
