"""The models that methods are built from: proposers of masks, encoders of crops and labels, vision-language models.

Importing this package, or a module that defines a part, imports no torch.
"""
