"""The tutorial's own training loop, written out from its description: the opponent of every recipe.

Its parts are PyTorch's and torchvision's, and nothing here is blitz's but the Net, which is the tutorial's.
"""

import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import Compose, Normalize, ToTensor

from blitz.training.nets import CifarNet


class ImagesInMemory(Dataset):
    """What torchvision's CIFAR10 is once it has been read: pixels, of which it makes PIL images."""

    def __init__(self, split):
        self.data = split.images.permute(0, 2, 3, 1).contiguous().numpy()  # (N, 32, 32, 3)
        self.targets = split.labels.tolist()
        self.transform = Compose([ToTensor(), Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))])

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        return self.transform(Image.fromarray(self.data[index])), self.targets[index]


def train(split, *, epochs=2, steps=None):
    """Train as the tutorial does, `steps` mini-batches of each epoch or all; return the net."""
    trainloader = DataLoader(ImagesInMemory(split), batch_size=4, shuffle=True, num_workers=2)
    net = CifarNet()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9)
    for _ in range(epochs):
        running_loss = 0.0
        for i, (inputs, labels) in enumerate(trainloader):
            if i == steps:
                break
            optimizer.zero_grad()
            outputs = net(inputs)
            loss = criterion(outputs, labels)
            loss.backward()
            optimizer.step()
            running_loss += loss.item()
            if i % 2000 == 1999:
                running_loss = 0.0
    return net
