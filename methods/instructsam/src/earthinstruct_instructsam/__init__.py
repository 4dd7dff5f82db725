"""InstructSAM: count objects, propose masks, compare them with labels, assign labels exactly under the counts.

Source: Zheng et al., InstructSAM (arXiv 2505.15818).
"""
