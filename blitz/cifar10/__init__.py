"""CIFAR-10: from any copy that people have, or drawn, to batches on the device."""
