"""InstructSAM: an LVLM counts, a segmenter proposes masks, a CLIP compares, an exact solver assigns labels under the counts.

Source: Zheng et al., InstructSAM (arXiv 2505.15818).
"""
