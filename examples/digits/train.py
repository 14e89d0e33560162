"""Trains the network that lies beside this file as weights.safetensors: `python train.py`, two minutes on two cores."""

import math
from pathlib import Path

import torch
from data import splits
from model import build
from safetensors.torch import save_file
from torch.nn import functional
from torch.utils.data import DataLoader

EPOCHS, LEARNING_RATE = 40, 3e-3


def main() -> None:
    """weights.safetensors holds the weights after the last epoch; prints the accuracy on the evaluation split."""
    torch.manual_seed(0)
    data, network = splits(), build()
    loader = DataLoader(data["train"], batch_size=64, shuffle=True, drop_last=True)
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=1e-2)
    steps = EPOCHS * len(loader)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / steps)))
    for epoch in range(EPOCHS):
        network.train()
        for images, labels in loader:
            loss = functional.cross_entropy(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1} of {EPOCHS}: loss {loss.item():.4f}")
    network.eval()
    with torch.no_grad():
        images, labels = next(iter(DataLoader(data["evaluation"], batch_size=len(data["evaluation"]))))
        accuracy = (network(images).argmax(1) == labels).float().mean()
    print(f"accuracy {accuracy:.2%}")
    save_file(network.state_dict(), Path(__file__).with_name("weights.safetensors"))


if __name__ == "__main__":
    main()
