"""Models that run elsewhere: ONNX and torch.export graphs checked against eager, MONAI bundles."""
