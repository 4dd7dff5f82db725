"""The models methods are built from: proposers of masks, encoders of crops and labels, language models that see.

Importing this package, or a module that defines a part, imports no torch.
"""
