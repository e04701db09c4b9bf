"""Sparse fine-tuning: operators, tail, frozen prefix, loop, measured memory."""
