"""Labelled images, few-shot tasks, the prototype head, and meta-training."""
