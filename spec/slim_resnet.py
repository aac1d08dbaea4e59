"""A ResNet-18 that a test has time for: torchvision's own, layer by layer, with fewer channels."""

from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet


class SlimResNet(ResNet):
    """Has the layers of resnet18() by their names, and an eighth of the channels."""

    def __init__(self, num_classes=1000):
        super().__init__(BasicBlock, [2, 2, 2, 2], num_classes=num_classes)
        self.fc = nn.Linear(512 // 8, num_classes)

    def _make_layer(self, block, planes, blocks, **options):
        if self.inplanes == 64:  # before the first block
            self.inplanes = 64 // 8
            self.conv1 = nn.Conv2d(3, self.inplanes, 7, stride=2, padding=3, bias=False)
            self.bn1 = nn.BatchNorm2d(self.inplanes)
        return super()._make_layer(block, planes // 8, blocks, **options)
